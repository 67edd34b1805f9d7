"""Random sequences of operations on a store and on a plain dict: they must always agree."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import store
from store.common import errors
from tests.store.examples import make_spec

DIM = 3
FIELDS = ("f", "g/h")
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
KEYS = st.one_of(st.sampled_from("abcdefghij"), NAMES)
FIELD = st.sampled_from(FIELDS)
VECTORS = st.lists(st.integers(-2000, 2000), min_size=DIM, max_size=DIM)


class StoreMachine(RuleBasedStateMachine):
    """The model: field -> block -> key -> (vector, caption hash), in the order of commits."""

    backend: store.Store

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "some.store"
        self.opened = store.create(self.path, backend=self.backend)
        self.readers = {}
        self.model = {}

    def teardown(self):
        shutil.rmtree(self.folder)

    def rows(self, field):
        return {key: row for block in self.model[field].values() for key, row in block.items()}

    def reader(self, field):
        """A field that stays open over many operations, so that it must notice what changes."""
        if field not in self.readers:
            self.readers[field] = store.open(self.path).field(field)
        return self.readers[field]

    @rule(field=FIELD)
    def make_field(self, field):
        self.opened.writer(field, make_spec(dim=DIM))
        self.model.setdefault(field, {})

    @rule(field=FIELD, block=NAMES, rows=st.dictionaries(KEYS, st.tuples(VECTORS, st.text(max_size=3)), max_size=6))
    def commit(self, field, block, rows):
        self.make_field(field)
        writer = self.opened.writer(field, make_spec(dim=DIM))
        rows = {key: (vector, store.caption_hash(caption)) for key, (vector, caption) in rows.items()}
        vectors = np.array([vector for vector, _ in rows.values()], np.float32).reshape(-1, DIM)
        arguments = (block, list(rows), vectors, np.array([hash_ for _, hash_ in rows.values()], np.uint64))
        there = self.model[field].get(block)
        if there is not None:
            same = [(key, row[1]) for key, row in there.items()] == [(key, row[1]) for key, row in rows.items()]
            if same:
                assert writer.commit(*arguments) is False
            else:
                with pytest.raises(errors.BlockExistsError):
                    writer.commit(*arguments)
        elif clash := [key for key in rows if key in self.rows(field)]:
            with pytest.raises(errors.DuplicateKeyError) as caught:
                writer.commit(*arguments)
            assert repr(clash[0]) in str(caught.value)
        else:
            assert writer.commit(*arguments) is True
            self.model[field][block] = rows

    @precondition(lambda self: self.model)
    @rule(data=st.data(), keys=st.lists(KEYS, max_size=8))
    def look_up(self, data, keys):
        field = data.draw(st.sampled_from(sorted(self.model)))
        rows = self.rows(field)
        if rows:
            keys = data.draw(st.permutations(keys + data.draw(st.lists(st.sampled_from(sorted(rows)), max_size=8))))
        expected = [rows[key][0] if key in rows else [0] * DIM for key in keys]
        there = [key in rows for key in keys]
        reader = self.reader(field)
        vectors, found = reader.get(keys, missing="mask")
        assert found.tolist() == there
        np.testing.assert_array_equal(vectors, np.array(expected).reshape(-1, DIM))
        assert reader.contains(keys).tolist() == there
        hashes, _ = reader.caption_hashes(keys, missing="mask")
        assert hashes.tolist() == [rows[key][1] if key in rows else 0 for key in keys]
        if all(there):
            np.testing.assert_array_equal(reader.get(keys), vectors)
        else:
            with pytest.raises(KeyError):
                reader.get(keys)

    @precondition(lambda self: any(self.model.values()))
    @rule(data=st.data())
    def drop_blocks(self, data):
        field = data.draw(st.sampled_from(sorted(name for name, blocks in self.model.items() if blocks)))
        blocks = data.draw(st.lists(st.sampled_from(sorted(self.model[field])), unique=True, min_size=1))
        self.opened.drop_blocks(field, blocks)
        for block in blocks:
            del self.model[field][block]

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def drop_field(self, data):
        field = data.draw(st.sampled_from(sorted(self.model)))
        self.opened.drop_field(field)
        self.readers.pop(field, None)
        del self.model[field]

    @rule()
    def reopen(self):
        self.opened, self.readers = None, {}
        self.opened = store.open(self.path, mode="a")

    @rule()
    def verify(self):
        assert self.opened.verify() == []
        assert self.opened.repair() == []

    @invariant()
    def the_store_holds_what_the_model_holds(self):
        infos = self.opened.fields()
        assert list(infos) == sorted(self.model)
        for field, blocks in self.model.items():
            reader = self.reader(field)
            assert reader.blocks() == list(blocks)
            assert reader.keys() == list(self.rows(field))
            assert len(reader) == infos[field].num_vectors == len(self.rows(field))
            for block, rows in blocks.items():
                keys, vectors = reader.read_block(block)
                assert keys == list(rows)
                np.testing.assert_array_equal(vectors, np.array([v for v, _ in rows.values()]).reshape(-1, DIM))


class LmdbMachine(StoreMachine):
    backend = "lmdb"


class ZarrMachine(StoreMachine):
    backend = "zarr"


FEW = settings(max_examples=15, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(FEW, max_examples=300, stateful_step_count=40)

TestLmdb = LmdbMachine.TestCase
TestLmdb.settings = FEW
TestZarr = ZarrMachine.TestCase
TestZarr.settings = FEW


@pytest.mark.slow
@pytest.mark.parametrize("machine", [LmdbMachine, ZarrMachine])
def test_long_random_sequences_agree_with_a_dict(machine):
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(machine, settings=MANY)

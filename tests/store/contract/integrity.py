"""Damage is found, named and mended; what is dropped is gone."""

import numpy as np
import pytest

import store
from store.common import errors
from tests.store.contract.base import Contract
from tests.store.examples import make_block, make_spec


def find_bytes(path, wanted):
    """File and offset of bytes that occur once under ``path``; None if they do not occur."""
    files = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    hits = [(file, data.find(wanted)) for file, data in files.items() if wanted in data]
    assert len(hits) <= 1
    return hits[0] if hits else None


def flip(file, offset):
    """Invert one bit of a file; twice leaves it as it was."""
    with file.open("r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)[0]
        stream.seek(offset)
        stream.write(bytes([byte ^ 1 << offset % 8]))


class Integrity(Contract):
    """Verify, repair and drop."""

    def test_an_intact_store_verifies_and_repairing_it_changes_nothing(self, filled, path):
        steps = []
        assert store.open(path).verify(lambda *step: steps.append(step)) == []
        assert steps == [("f", 1, 3), ("f", 2, 3), ("f", 3, 3)]
        assert filled.repair() == []
        assert len(filled.field("f")) == 504

    @pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16", "int8"])
    def test_flipping_any_byte_of_a_vector_is_found_named_and_never_returned(self, empty, path, dtype):
        writer = empty.writer("f", make_spec(dtype=dtype))
        for name in "abc":
            writer.commit(name, *make_block(name, 5))
        raw = empty.field("f").read_batch("b")
        parts = [raw.rows.tobytes()] + ([raw.scales.tobytes()] if raw.scales is not None else [])
        for part in parts:
            file, start = find_bytes(path, part)
            for offset in range(len(part)):
                flip(file, start + offset)
                damages = store.open(path).verify()
                assert [(damage.field, damage.block) for damage in damages] == [("f", "b")]
                flip(file, start + offset)
        flip(file, start)
        with pytest.raises(errors.DamagedBlockError, match="block 'b' of field 'f' is damaged"):
            store.open(path).field("f").get(["a/0", "b/0"])
        assert len(store.open(path).field("f").get(["a/0", "c/0"])) == 2
        assert len(store.open(path, check=False).field("f").get(["b/0"])) == 1

    def test_repair_drops_exactly_the_damaged_blocks_so_that_they_can_be_filled_again(self, filled, path):
        file, start = find_bytes(path, make_block("b", 500)[1].tobytes())
        flip(file, start + 17)
        with pytest.raises(errors.ReadOnlyError):
            store.open(path).repair()
        damages = store.open(path, mode="a").repair()
        assert [(damage.field, damage.block) for damage in damages] == [("f", "b")]
        assert store.open(path).verify() == []
        field = filled.field("f")
        assert field.blocks() == ["a", "c"]
        assert field.contains(["a/0", "b/0", "b/499", "c/0"]).tolist() == [True, False, False, True]
        assert filled.writer("f", make_spec()).commit("b", *make_block("b", 500)) is True
        np.testing.assert_array_equal(field.get(["b/17"]), make_block("b", 500)[1][[17]])

    @pytest.mark.parametrize("part", ["keys", "caption hashes"])
    def test_damaged_keys_and_caption_hashes_are_found(self, filled, path, part):
        keys, _, hashes = make_block("b", 500)
        file, start = find_bytes(path, "\0".join(keys).encode() if part == "keys" else hashes.tobytes())
        flip(file, start + 100)
        assert [(damage.field, damage.block) for damage in store.open(path).verify()] == [("f", "b")]
        field = store.open(path).field("f")
        with pytest.raises(errors.DamagedBlockError):
            field.read_block("b") if part == "keys" else field.caption_hashes(["b/1"])

    def test_a_field_whose_record_is_damaged_is_named(self, filled, path):
        filled.writer("g", make_spec(model="other")).commit("a", *make_block("a", 3))
        files = [file for file in path.rglob("*") if file.is_file() and b"tiny-llm" in file.read_bytes()]
        for file in files:
            data = file.read_bytes()
            file.write_bytes(data.replace(b"tiny-llm", b"tiny-lLm"))
        damages = store.open(path).verify()
        assert [(damage.field, damage.block) for damage in damages] == [("f", None)]
        assert "from a copy" in damages[0].what
        assert len(store.open(path, mode="a").repair()) == 1
        with pytest.raises(errors.DamagedBlockError, match="does not match its checksum"):
            store.open(path).field("f")
        assert len(store.open(path).field("g")) == 3

    def test_dropped_blocks_are_gone_and_can_be_written_again(self, filled):
        field = filled.field("f")
        filled.drop_blocks("f", ["a", "c"])
        assert field.blocks() == ["b"]
        assert len(field) == 500
        assert not field.contains(["a/0", "c/0"]).any()
        with pytest.raises(errors.BlockNotFoundError, match="no block 'a'"):
            filled.drop_blocks("f", ["b", "a"])
        assert field.blocks() == ["b"]
        assert filled.writer("f", make_spec()).commit("a2", *make_block("a", 3)) is True
        np.testing.assert_array_equal(field.get(["a/2"]), make_block("a", 3)[1][2:])

    def test_a_dropped_field_is_gone_and_its_name_is_free(self, filled, path):
        filled.writer("g", make_spec()).commit("a", *make_block("a", 3))
        filled.drop_field("f")
        assert list(store.open(path).fields()) == ["g"]
        assert find_bytes(path, make_block("b", 500)[1].tobytes()) is None
        with pytest.raises(errors.FieldNotFoundError, match="there are 'g'"):
            filled.drop_field("f")
        filled.writer("f", make_spec(dim=2)).commit("b", *make_block("b", 4, dim=2))
        assert filled.field("f").get(["b/3"]).shape == (1, 2)

    def test_a_store_opened_for_reading_refuses_to_drop(self, filled, path):
        with pytest.raises(errors.ReadOnlyError):
            store.open(path).drop_field("f")
        with pytest.raises(errors.ReadOnlyError):
            store.open(path).drop_blocks("f", ["a"])

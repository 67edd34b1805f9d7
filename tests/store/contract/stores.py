"""Stores and fields: making, opening, naming, telling what is there."""

import numpy as np
import pytest

import store
from store.common import errors
from tests.store.contract.base import Contract
from tests.store.examples import DIM, make_block, make_spec


class StoresAndFields(Contract):
    """Making and opening."""

    def test_create_refuses_to_overwrite_a_store_or_anything_else(self, empty, path, tmp_path):
        with pytest.raises(errors.StoreExistsError, match="exists already"):
            store.create(path, backend=self.backend)
        (tmp_path / "file").write_text("mine")
        with pytest.raises(FileExistsError):
            store.create(tmp_path / "file", backend=self.backend)
        assert (tmp_path / "file").read_text() == "mine"

    def test_create_makes_the_folders_above(self, tmp_path):
        assert store.create(tmp_path / "x" / "y.store", backend=self.backend).fields() == {}

    def test_open_recognises_the_backend(self, empty, path):
        assert type(store.open(path)) is type(empty)

    def test_open_of_nothing_names_the_stores_beside_it(self, empty, tmp_path):
        with pytest.raises(errors.StoreNotFoundError, match=r"no store at .*other.*some\.store"):
            store.open(tmp_path / "other.store")

    def test_open_of_a_folder_that_is_no_store_says_so(self, tmp_path):
        (tmp_path / "photos").mkdir()
        with pytest.raises(FileNotFoundError, match="is not a store"):
            store.open(tmp_path / "photos")

    def test_a_store_opened_for_reading_refuses_writers(self, filled, path):
        with pytest.raises(errors.ReadOnlyError, match="mode='a'"):
            store.open(path).writer("f", make_spec())

    def test_fields_tells_spec_and_sizes(self, filled, path):
        filled.writer("g", make_spec(dim=2, dtype="float32"))
        assert store.open(path).fields() == {
            "f": store.FieldInfo(spec=make_spec(), num_vectors=504, num_blocks=3),
            "g": store.FieldInfo(spec=make_spec(dim=2, dtype="float32"), num_vectors=0, num_blocks=0),
        }
        assert store.open(path).fields()["f"].num_bytes == 504 * DIM * 2
        assert filled.field("f").info() == store.open(path).fields()["f"]

    def test_a_missing_field_is_an_error_that_names_what_is_there(self, filled):
        with pytest.raises(errors.FieldNotFoundError, match="no field 'h'; there are 'f'"):
            filled.field("h")

    def test_a_writer_with_another_spec_is_refused_and_told_what_differs(self, filled):
        with pytest.raises(errors.SpecMismatchError, match="pooling is 'mean', not 'last'; dim is 6, not 8"):
            filled.writer("f", make_spec(pooling="last", dim=8))

    def test_fields_of_one_store_are_apart(self, filled):
        filled.writer("g", make_spec()).commit("a", ["a/0"], np.ones((1, DIM), np.float32), store.caption_hashes(["x"]))
        assert filled.field("g").get(["a/0"]).tolist() == [[1] * DIM]
        assert len(filled.field("f")) == 504
        assert not filled.field("g").contains(["a/1"])[0]

    @pytest.mark.parametrize("name", ["", "x" * 501, "a\0b"])
    def test_names_that_cannot_be_stored_are_refused(self, filled, name):
        with pytest.raises(errors.InvalidKeysError, match="field name"):
            filled.writer(name, make_spec())
        with pytest.raises(errors.InvalidKeysError, match="block name"):
            filled.writer("f", make_spec()).commit(name, *make_block("z", 1))

    @pytest.mark.parametrize(
        "name", ["minilm/captions.0", "x" * 500, "../..", ".", "Ünïcode 字", "a b:c%d\\e", "zarr.json"]
    )
    def test_any_text_can_name_a_field_and_a_block(self, filled, path, name):
        filled.writer(name, make_spec()).commit(name, *make_block("z", 2))
        reopened = store.open(path)
        assert name in reopened.fields()
        assert reopened.field(name).blocks() == [name]
        assert reopened.field(name).get(["z/1"]).tolist() == make_block("z", 2)[1][1:].tolist()

"""Reading: get, membership, blocks, caption hashes."""

import numpy as np
import pytest

import store
from store.common import errors
from tests.store.contract.base import Contract
from tests.store.examples import DIM, make_block, make_spec


class Reading(Contract):
    """What a field answers."""

    def test_get_returns_the_rows_in_the_order_asked_for(self, filled):
        _, vectors, _ = make_block("b", 500)
        got = filled.field("f").get(["b/499", "b/0", "a/1", "b/0"])
        assert got.dtype == np.float16
        np.testing.assert_array_equal(got[:2], vectors[[499, 0]])
        np.testing.assert_array_equal(got[2], make_block("a", 3)[1][1])
        np.testing.assert_array_equal(got[3], vectors[0])

    def test_get_of_no_keys_is_empty(self, filled, empty):
        assert filled.field("f").get([]).shape == (0, DIM)
        empty.writer("g", make_spec())
        assert empty.field("g").get([], missing="mask")[1].tolist() == []

    def test_missing_keys_are_named(self, filled):
        keys = ["a/0", *(f"no{i}" for i in range(7))]
        with pytest.raises(errors.MissingKeysError, match=r"7 of 8 keys .* 'no0', 'no1', 'no2', 'no3', 'no4', \.\.\.;"):
            filled.field("f").get(keys)
        with pytest.raises(KeyError):
            filled.field("f").get(["A/0"])

    def test_the_mask_tells_which_keys_are_there_and_the_other_rows_are_zero(self, filled):
        vectors, found = filled.field("f").get(["no", "a/2", "no"], missing="mask")
        assert found.tolist() == [False, True, False]
        np.testing.assert_array_equal(vectors, [[0] * DIM, make_block("a", 3)[1][2], [0] * DIM])
        vectors, found = filled.field("f").get(["no"], missing="mask")
        assert (vectors.tolist(), found.tolist()) == ([[0] * DIM], [False])

    def test_out_is_filled_and_returned(self, filled):
        out = np.full((2, DIM), 7, np.float16)
        assert filled.field("f").get(["a/0", "a/1"], out=out) is out
        np.testing.assert_array_equal(out, make_block("a", 3)[1][:2])
        same, found = filled.field("f").get(["no", "a/1"], out=out, missing="mask")
        assert same is out
        assert found.tolist() == [False, True]
        np.testing.assert_array_equal(out, [[0] * DIM, make_block("a", 3)[1][1]])

    def test_out_may_be_part_of_a_larger_array_or_of_another_type(self, filled):
        out = np.zeros((2, 2 * DIM), np.float32)
        filled.field("f").get(["b/8", "b/9"], out=out[:, :DIM])
        np.testing.assert_array_equal(
            out[:, :DIM], make_block("b", 10)[1][8:] * 0 + filled.field("f").get(["b/8", "b/9"])
        )
        assert not out[:, DIM:].any()

    @pytest.mark.parametrize(
        ("out", "dtype", "message"),
        [
            (np.zeros((2, DIM), np.float16), None, r"shape \(2, 6\).*expected \(1, 6\)"),
            (np.zeros((1, DIM), np.float16), "float32", "type float16; expected .* float32"),
            (np.zeros((1, DIM), np.float64), None, "not float64"),
            (None, "int8", "not int8"),
        ],
    )
    def test_an_output_that_does_not_fit_is_refused(self, filled, out, dtype, message):
        with pytest.raises(errors.InvalidVectorsError, match=message):
            filled.field("f").get(["a/0"], out=out, dtype=dtype)

    def test_one_text_instead_of_keys_is_refused(self, filled):
        with pytest.raises(errors.InvalidKeysError, match="not the one text 'abc'"):
            filled.field("f").get("abc")

    def test_membership_length_keys_and_blocks(self, filled):
        field = filled.field("f")
        assert "b/7" in field
        assert "b/500" not in field
        assert field.contains(["c/0", "d/0"]).tolist() == [True, False]
        assert len(field) == 504
        assert field.blocks() == ["a", "b", "c"]
        assert field.keys() == [f"a/{i}" for i in range(3)] + [f"b/{i}" for i in range(500)] + ["c/0"]

    def test_a_block_is_read_back_whole(self, filled):
        keys, vectors = filled.field("f").read_block("b")
        expected_keys, expected, _ = make_block("b", 500)
        assert keys == expected_keys
        np.testing.assert_array_equal(vectors, expected)
        with pytest.raises(errors.BlockNotFoundError, match="no block 'nope' among its 3"):
            filled.field("f").read_block("nope")

    def test_caption_hashes_come_back_for_every_key(self, filled):
        hashes = filled.field("f").caption_hashes(["b/3", "a/0"])
        assert hashes.dtype == np.uint64
        assert hashes.tolist() == [store.caption_hash("caption of b/3"), store.caption_hash("caption of a/0")]
        hashes, found = filled.field("f").caption_hashes(["no", "c/0"], missing="mask")
        assert hashes.tolist() == [0, store.caption_hash("caption of c/0")]
        assert found.tolist() == [False, True]
        with pytest.raises(errors.MissingKeysError, match="1 of 1 keys"):
            filled.field("f").caption_hashes(["no"])

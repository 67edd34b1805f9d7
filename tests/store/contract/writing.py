"""Writing: what is taken, what is refused, what is kept of every dtype."""

import numpy as np
import pytest

import store
from store.common import errors
from tests.store.contract.base import Contract
from tests.store.examples import DIM, make_block, make_spec


class Writing(Contract):
    """What a writer takes and refuses."""

    def test_committing_a_block_again_changes_nothing(self, filled):
        writer = filled.writer("f", make_spec())
        keys, vectors, hashes = make_block("b", 500)
        assert writer.commit("b", keys, vectors + 1, hashes) is False
        np.testing.assert_array_equal(filled.field("f").get(keys), vectors)
        assert len(filled.field("f")) == 504

    def test_a_new_block_is_reported_as_written(self, filled):
        assert filled.writer("f", make_spec()).commit("d", *make_block("d", 2)) is True

    def test_a_block_with_other_keys_or_captions_under_a_known_name_is_refused(self, filled):
        writer = filled.writer("f", make_spec())
        keys, vectors, hashes = make_block("a", 3)
        with pytest.raises(errors.BlockExistsError, match="block 'a' of field 'f' is there already with other keys"):
            writer.commit("a", *make_block("z", 3))
        with pytest.raises(errors.BlockExistsError):
            writer.commit("a", keys, vectors, hashes + np.uint64(1))
        with pytest.raises(errors.BlockExistsError):
            writer.commit("a", keys[::-1], vectors, hashes)

    def test_a_key_of_another_block_is_refused_by_name_and_nothing_is_stored(self, filled):
        keys, vectors, hashes = make_block("d", 3)
        with pytest.raises(errors.DuplicateKeyError, match=r"key 'b/77' of block 'd' .* in block 'b'"):
            filled.writer("f", make_spec()).commit("d", [keys[0], "b/77", keys[2]], vectors, hashes)
        assert filled.field("f").blocks() == ["a", "b", "c"]
        assert not filled.field("f").contains(keys).any()

    def test_a_key_twice_in_a_block_is_refused_by_name(self, filled):
        _, vectors, hashes = make_block("d", 3)
        with pytest.raises(errors.DuplicateKeyError, match="key 'x' comes twice in block 'd'"):
            filled.writer("f", make_spec()).commit("d", ["x", "y", "x"], vectors, hashes)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_vectors_that_are_not_finite_are_refused_by_key(self, filled, bad):
        keys, vectors, hashes = make_block("d", 3)
        vectors[1, 4] = bad
        with pytest.raises(errors.InvalidVectorsError, match="key 'd/1' is NaN or infinite"):
            filled.writer("f", make_spec()).commit("d", keys, vectors, hashes)

    def test_numbers_too_large_for_the_stored_type_are_refused_with_the_remedy(self, filled):
        keys, vectors, hashes = make_block("d", 3)
        vectors = vectors.astype(np.float32)
        vectors[2, 0] = 70000
        with pytest.raises(errors.InvalidVectorsError, match=r"'d/2' is too large for float16; store .* bfloat16 or"):
            filled.writer("f", make_spec()).commit("d", keys, vectors, hashes)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda k, v, h: (k, v[:2], h), r"shape \(2, 6\).*expected \(3, 6\)"),
            (lambda k, v, h: (k, v.astype(np.int32), h), "type int32"),
            (lambda k, v, h: (k, v, h[:2]), r"caption hashes of shape \(2,\)"),
            (lambda k, v, h: (k, v, h.astype(np.float64)), "type float64"),
            (lambda k, v, h: (["x", "", "y"], v, h), "sample key '' is empty"),
            (lambda k, v, h: (["x", 5, "y"], v, h), "sample key 5 is int"),
            (lambda k, v, h: (["x", "a\0b", "y"], v, h), "holds NUL"),
            (lambda k, v, h: (["x", "\ud800", "y"], v, h), "UTF-8"),
        ],
    )
    def test_arguments_that_cannot_be_stored_are_refused(self, filled, change, message):
        with pytest.raises(ValueError, match=message):
            filled.writer("f", make_spec()).commit("d", *change(*make_block("d", 3)))
        assert filled.field("f").blocks() == ["a", "b", "c"]

    def test_a_block_without_keys_marks_a_shard_as_done(self, filled):
        writer = filled.writer("f", make_spec())
        assert writer.commit("nothing", [], np.zeros((0, DIM), np.float32), []) is True
        assert writer.commit("nothing", [], np.zeros((0, DIM), np.float32), []) is False
        assert filled.field("f").blocks()[-1] == "nothing"
        assert filled.field("f").read_block("nothing")[0] == []

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_vectors_of_any_float_type_are_taken(self, filled, dtype):
        keys, vectors, hashes = make_block("d", 3)
        filled.writer("f", make_spec()).commit("d", keys, np.asfortranarray(vectors.astype(dtype)), hashes)
        np.testing.assert_array_equal(filled.field("f").get(keys), vectors)

    @pytest.mark.parametrize(
        ("dtype", "output"), [("float32", "float32"), ("bfloat16", "float32"), ("int8", "float32")]
    )
    @pytest.mark.parametrize("dim", [1, 3, 128, 1000])
    def test_every_stored_type_comes_back_near_what_was_given(self, empty, dtype, output, dim):
        writer = empty.writer("f", make_spec(dtype=dtype, dim=dim))
        keys, vectors, hashes = make_block("a", 40, dim=dim)
        writer.commit("a", keys, vectors, hashes)
        writer.commit("b", *make_block("b", 7, dim=dim))
        order = np.random.default_rng(0).permutation(40)
        got = empty.field("f").get([keys[i] for i in order])
        assert got.dtype == np.float32
        step = {"float32": 0, "bfloat16": 512 * 2**-8, "int8": 1000 / 254}[dtype]
        np.testing.assert_allclose(got, vectors[order].astype(np.float32), atol=step * 1.001, rtol=0)
        half = empty.field("f").get(keys, dtype="float16")
        assert half.dtype == np.float16
        np.testing.assert_array_equal(half, empty.field("f").get(keys).astype(np.float16))

    def test_long_keys_and_keys_of_any_script_are_kept(self, empty):
        keys = ["x" * 3000, "猫", "with space", "a/b/../c", "0"]
        vectors = np.arange(5 * DIM, dtype=np.float32).reshape(5, DIM)
        empty.writer("f", make_spec()).commit("a", keys, vectors, store.caption_hashes(keys))
        assert empty.field("f").keys() == keys
        np.testing.assert_array_equal(empty.field("f").get(keys[::-1]), vectors[::-1])

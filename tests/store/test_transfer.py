"""Copying between stores: merge, convert, compact."""

import itertools

import numpy as np
import pytest

import store
from store.common import errors
from store.transfer import Copied, copy
from tests.store.examples import make_block, make_spec

BACKENDS = ("lmdb", "zarr")


def make(path, backend="lmdb", field="f", blocks=("a", "b"), **changes):
    spec = make_spec(**changes)
    made = store.create(path, backend=backend)
    for block in blocks:
        made.writer(field, spec).commit(block, *make_block(block, 20, dim=spec.dim))
    return made


def assert_holds(opened, blocks, field="f", atol=0.0):
    found = opened.field(field)
    assert sorted(found.blocks()) == sorted(blocks)
    for block in blocks:
        keys, vectors, hashes = make_block(block, 20)
        np.testing.assert_allclose(found.get(keys, dtype="float32"), vectors.astype(np.float32), atol=atol, rtol=0)
        np.testing.assert_array_equal(found.caption_hashes(keys), hashes)


@pytest.mark.parametrize(("source", "target"), [*itertools.product(BACKENDS, BACKENDS)])
def test_stores_of_any_backends_merge_into_one(tmp_path, source, target):
    first = make(tmp_path / "1.store", source, blocks="ab")
    second = make(tmp_path / "2.store", source, blocks="cd")
    second.writer("g", make_spec()).commit("x", *make_block("x", 20))
    merged = store.create(tmp_path / "merged.store", backend=target)
    assert copy([first, second], merged) == Copied(num_blocks=5, num_vectors=100, num_blocks_before=0)
    assert_holds(merged, "abcd")
    assert_holds(merged, "x", field="g")
    assert merged.fields()["f"].spec == make_spec()
    assert merged.verify() == []
    assert_holds(first, "ab")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_an_unchanged_dtype_is_copied_bit_by_bit(tmp_path, dtype):
    source = make(tmp_path / "1.store", dtype=dtype)
    target = store.create(tmp_path / "2.store", backend="zarr")
    copy([source], target)
    before, after = source.field("f").read_batch("a"), target.field("f").read_batch("a")
    assert before.rows.tobytes() == after.rows.tobytes()
    assert dtype != "int8" or before.scales.tobytes() == after.scales.tobytes()


@pytest.mark.parametrize(("dtype", "atol"), [("float32", 0), ("bfloat16", 2), ("int8", 4)])
def test_numbers_are_converted(tmp_path, dtype, atol):
    source = make(tmp_path / "1.store")
    target = store.create(tmp_path / "2.store")
    copy([source], target, dtype=dtype)
    assert target.fields()["f"].spec == make_spec(dtype=dtype)
    assert_holds(target, "ab", atol=atol)


def test_an_interrupted_copy_goes_on_where_it_stopped(tmp_path):
    source = make(tmp_path / "1.store", blocks="abcde")
    target = store.create(tmp_path / "2.store")

    def stop_after_two(field, done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy([source], target, progress=stop_after_two)
    assert target.field("f").blocks() == ["a", "b"]
    assert copy([source], target) == Copied(num_blocks=3, num_vectors=60, num_blocks_before=2)
    assert_holds(target, "abcde")
    assert copy([source], target) == Copied(num_blocks=0, num_vectors=0, num_blocks_before=5)


def test_blocks_of_one_name_and_other_keys_are_kept_apart_and_found_again(tmp_path):
    first, second = make(tmp_path / "1.store", blocks="a"), make(tmp_path / "2.store", blocks="b")
    keys, vectors, hashes = make_block("c", 20)
    second.writer("f", make_spec()).commit("a", keys, vectors, hashes)
    merged = store.create(tmp_path / "merged.store")
    assert copy([first, second], merged).num_blocks == 3
    suffix = second.field("f").block_digest("a").hex()[:16]
    assert merged.field("f").blocks() == ["a", "b", f"a~{suffix}"]
    np.testing.assert_array_equal(merged.field("f").get(keys), vectors)
    assert copy([first, second], merged).num_blocks == 0


def test_the_same_block_in_two_sources_is_copied_once(tmp_path):
    first, second = make(tmp_path / "1.store", blocks="ab"), make(tmp_path / "2.store", blocks="bc")
    merged = store.create(tmp_path / "merged.store")
    assert copy([first, second], merged) == Copied(num_blocks=3, num_vectors=60, num_blocks_before=1)
    assert_holds(merged, "abc")


def test_only_named_fields_are_copied(tmp_path):
    source = make(tmp_path / "1.store")
    source.writer("g", make_spec()).commit("x", *make_block("x", 20))
    target = store.create(tmp_path / "2.store")
    copy([source], target, fields=["g"])
    assert list(target.fields()) == ["g"]
    with pytest.raises(errors.FieldNotFoundError, match="no source has a field 'h'; there are 'f', 'g'"):
        copy([source], target, fields=["h"])


def test_what_does_not_fit_together_is_refused(tmp_path):
    first = make(tmp_path / "1.store", blocks="a")
    second = make(tmp_path / "2.store", blocks="b", pooling="last")
    target = store.create(tmp_path / "3.store")
    with pytest.raises(errors.SpecMismatchError, match="pooling is 'mean', not 'last'"):
        copy([first, second], target)
    third = make(tmp_path / "4.store", blocks=())
    keys, vectors, hashes = make_block("a", 3)
    third.writer("f", make_spec()).commit("z", keys, vectors, hashes)
    with pytest.raises(errors.DuplicateKeyError, match="key 'a/0'"):
        copy([first, third], target)
    with pytest.raises(errors.ConfigError, match="into itself"):
        copy([first], store.open(first.path, mode="a"))


def test_numbers_that_the_new_dtype_cannot_hold_are_refused(tmp_path):
    source = store.create(tmp_path / "1.store")
    writer = source.writer("f", make_spec(dtype="float32", dim=1))
    writer.commit("a", ["k"], np.array([[1e6]], np.float32), store.caption_hashes(["c"]))
    with pytest.raises(errors.InvalidVectorsError, match="'k' is too large for float16"):
        copy([source], store.create(tmp_path / "2.store"), dtype="float16")


def test_compacting_gives_the_space_of_dropped_blocks_back(tmp_path):
    source = store.create(tmp_path / "1.store")
    writer = source.writer("f", make_spec(dim=1024))
    for block in "abcd":
        writer.commit(block, *make_block(block, 300, dim=1024))
    source.drop_blocks("f", ["a", "b", "c"])
    target = store.create(tmp_path / "2.store")
    copy([source], target)
    sizes = [sum(f.stat().st_size for f in (tmp_path / name).rglob("data.mdb")) for name in ("1.store", "2.store")]
    assert sizes[1] < 1.2 * 300 * 2048 < 0.4 * sizes[0]
    assert target.field("f").blocks() == ["d"]

"""What every backend must do. A backend's test class inherits this and says only which backend it is."""

import multiprocessing
import re
import threading

import numpy as np
import pytest

import store
from store import errors
from tests.store.examples import DIM, make_block, make_spec


def read_in_child(field, keys, queue):
    try:
        queue.put(field.get(keys).tolist())
    except BaseException as error:
        queue.put(repr(error))
        raise


def write_in_child(path, name, spec, blocks):
    writer = store.open(path, mode="a").writer(name, spec)
    for block in blocks:
        writer.commit(block, *make_block(block, 20))


class ContractSuite:
    backend: str

    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "some.store"

    @pytest.fixture
    def empty(self, path):
        return store.create(path, backend=self.backend)

    @pytest.fixture
    def filled(self, empty):
        """A field ``f`` with blocks a (3 keys), b (500) and c (1)."""
        writer = empty.writer("f", make_spec())
        for name, count in (("a", 3), ("b", 500), ("c", 1)):
            writer.commit(name, *make_block(name, count))
        return empty

    # --- stores

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
            "f": store.FieldInfo(spec=make_spec(), num_vectors=504, num_blocks=3, num_bytes=504 * DIM * 2),
            "g": store.FieldInfo(spec=make_spec(dim=2, dtype="float32"), num_vectors=0, num_blocks=0, num_bytes=0),
        }

    # --- fields and writers

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

    # --- reading

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

    # --- writing

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

    # --- processes and threads

    def test_a_reader_sees_blocks_as_they_are_committed(self, filled, path):
        field = store.open(path).field("f")
        assert "d/1" not in field
        filled.writer("f", make_spec()).commit("d", *make_block("d", 2))
        assert "d/1" in field
        np.testing.assert_array_equal(field.get(["d/1"]), make_block("d", 2)[1][1:])
        assert len(field) == 506

    def test_a_store_may_be_open_several_times_in_a_process(self, filled, path):
        first, second = store.open(path), store.open(path, mode="a")
        second.writer("g", make_spec()).commit("a", *make_block("a", 1))
        assert set(first.fields()) == {"f", "g"}

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_a_field_in_use_can_be_sent_to_another_process(self, filled, path, method):
        field = store.open(path).field("f")
        expected = field.get(["b/1", "a/2"]).tolist()
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        process = context.Process(target=read_in_child, args=(field, ["b/1", "a/2"], queue))
        process.start()
        assert queue.get(timeout=60) == expected
        process.join(60)
        assert process.exitcode == 0
        assert field.get(["b/1", "a/2"]).tolist() == expected

    def test_two_processes_write_one_field_at_once(self, empty, path):
        names = [[f"{who}{i}" for i in range(15)] for who in "xy"]
        context = multiprocessing.get_context("spawn")
        processes = [context.Process(target=write_in_child, args=(str(path), "f", make_spec(), n)) for n in names]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
            assert process.exitcode == 0
        field = empty.field("f")
        assert sorted(field.blocks()) == sorted(names[0] + names[1])
        for block in field.blocks():
            keys, vectors, _ = make_block(block, 20)
            np.testing.assert_array_equal(field.get(keys), vectors)

    def test_threads_may_share_a_field_and_a_writer(self, filled):
        field, writer = filled.field("f"), filled.writer("f", make_spec())
        failures = []

        def work(number):
            try:
                for i in range(10):
                    keys, vectors, hashes = make_block(f"t{number}.{i}", 5)
                    writer.commit(f"t{number}.{i}", keys, vectors, hashes)
                    np.testing.assert_array_equal(field.get(keys), vectors)
            except Exception as error:  # noqa: BLE001 - reported below, whatever it is
                failures.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert len(field) == 504 + 4 * 10 * 5

    def test_many_small_blocks_stay_findable(self, empty):
        writer = empty.writer("f", make_spec())
        for i in range(60):
            writer.commit(f"n{i}", *make_block(f"n{i}", 1 + i % 3))
        field = empty.field("f")
        for i in range(60):
            keys, vectors, _ = make_block(f"n{i}", 1 + i % 3)
            np.testing.assert_array_equal(field.get(keys), vectors)
        assert re.fullmatch(r"n\d+", field.blocks()[-1])

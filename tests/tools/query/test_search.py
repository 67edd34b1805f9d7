"""Exact neighbours: against brute force, however the field is cut up, read or kept."""

import importlib.util

import numpy as np
import pytest

import store
from store.common.errors import ConfigError
from tests.store.examples import make_spec
from tools.query import pieces as reading
from tools.query.search import Hit, Search, scale_to_unit

DIM = 8
ENGINES = [
    "numpy",
    pytest.param(
        "faiss",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("faiss") is None, reason="faiss is not installed: pip install keyclip[faiss]"
        ),
    ),
]


def make_field(path, blocks, dtype="float32", backend="lmdb"):
    """A field whose blocks are the given arrays (n, DIM); keys are ``BLOCK/ROW``."""
    writer = store.create(path, backend=backend).writer("f", make_spec(dim=blocks[0].shape[1], dtype=dtype))
    for number, vectors in enumerate(blocks):
        keys = [f"{number}/{row}" for row in range(len(vectors))]
        writer.commit(f"b{number}", keys, vectors, store.caption_hashes(keys))
    return store.open(path).field("f")


def brute_force(field, query, k):
    """The k best by cosine, in float64, from what the store gives for every key."""
    keys = field.keys()
    vectors = field.get(keys, dtype="float32").astype(np.float64)
    cosines = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    return [(keys[row], cosines[row]) for row in np.argsort(-cosines, kind="stable")[:k]]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("max_bytes", [0, 10**9])
@pytest.mark.parametrize(("backend", "dtype"), [("lmdb", "float16"), ("lmdb", "int8"), ("zarr", "bfloat16")])
def test_hits_are_those_of_brute_force(tmp_path, monkeypatch, engine, max_bytes, backend, dtype):
    monkeypatch.setattr(reading, "PIECE_NUMBERS", 37 * DIM)
    random = np.random.default_rng(0)
    blocks = [random.standard_normal((count, DIM)).astype(np.float32) * 3 for count in (100, 5, 0, 250, 37)]
    field = make_field(tmp_path / "s.store", blocks, dtype, backend)
    queries = random.standard_normal((7, DIM))
    search = Search(field, max_bytes=max_bytes, engine=engine)
    assert search.in_memory == (max_bytes > 0)
    for k in (1, 3, 40):
        for query, hits in zip(queries, search.nearest(queries, k), strict=True):
            expected = brute_force(field, query, k)
            assert [hit.key for hit in hits] == [key for key, _ in expected]
            np.testing.assert_allclose([hit.similarity for hit in hits], [cosine for _, cosine in expected], atol=1e-6)


def test_similarity_is_the_cosine_whatever_the_lengths(tmp_path):
    vectors = np.array([[3, 0], [0, 5], [1, 1], [-2, 0]], np.float32)
    search = Search(make_field(tmp_path / "s.store", [vectors]))
    (hits,) = search.nearest(np.array([[10.0, 0.0]]), 4)
    assert [hit.key for hit in hits] == ["0/0", "0/2", "0/1", "0/3"]
    np.testing.assert_allclose([hit.similarity for hit in hits], [1, np.sqrt(0.5), 0, -1], atol=1e-6)


def test_of_equal_vectors_the_one_committed_first_comes_first(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "PIECE_NUMBERS", 3 * 2)
    same = np.ones((5, 2), np.float32)
    search = Search(make_field(tmp_path / "s.store", [same, same]))
    (hits,) = search.nearest(np.ones((1, 2)), 7)
    assert [hit.key for hit in hits] == ["0/0", "0/1", "0/2", "0/3", "0/4", "1/0", "1/1"]


def test_a_field_smaller_than_k_gives_what_it_has_and_zero_vectors_are_no_nearer_than_right_angles(tmp_path):
    search = Search(make_field(tmp_path / "s.store", [np.array([[0, 0], [0, -1]], np.float32)]))
    assert search.nearest(np.array([[0.0, 2.0], [0.0, 0.0]]), 10) == [
        [Hit("0/0", 0.0), Hit("0/1", -1.0)],
        [Hit("0/0", 0.0), Hit("0/1", 0.0)],
    ]


def test_an_empty_field_and_no_query_at_all_are_answered(tmp_path):
    field = make_field(tmp_path / "s.store", [np.zeros((0, 2), np.float32)])
    for max_bytes in (0, 10**6):
        assert Search(field, max_bytes=max_bytes).nearest(np.ones((1, 2)), 3) == [[]]
        assert Search(field, max_bytes=max_bytes).nearest(np.ones((0, 2)), 3) == []


def test_in_memory_answers_are_as_of_the_loading_and_streamed_ones_as_of_now(tmp_path):
    field = make_field(tmp_path / "s.store", [np.eye(2, dtype=np.float32)])
    kept, streamed = Search(field, max_bytes=10**6), Search(field)
    writer = store.open(tmp_path / "s.store", mode="a").writer("f", field.spec)
    writer.commit("later", ["new"], np.array([[1, 1]], np.float32), store.caption_hashes(["new"]))
    query = np.ones((1, 2))
    assert kept.nearest(query, 1)[0][0].key == "0/0"
    assert streamed.nearest(query, 1)[0][0].key == "new"


def test_vectors_that_do_not_fit_into_the_bytes_given_are_streamed(tmp_path):
    field = make_field(tmp_path / "s.store", [np.eye(4, dtype=np.float32)])
    assert Search(field, max_bytes=64).in_memory
    assert not Search(field, max_bytes=63).in_memory


def test_a_query_of_another_width_is_refused(tmp_path):
    search = Search(make_field(tmp_path / "s.store", [np.eye(4, dtype=np.float32)]))
    with pytest.raises(ConfigError, match=r"a query of shape \(1, 3\) does not fit field 'f' of width 4"):
        search.nearest(np.ones((1, 3)), 1)


def test_progress_is_told_by_blocks(tmp_path):
    told = []
    field = make_field(tmp_path / "s.store", [np.eye(2, dtype=np.float32)] * 3)
    Search(field, progress=lambda *values: told.append(values)).nearest(np.ones((1, 2)), 1)
    assert told == [("f", 1, 3), ("f", 2, 3), ("f", 3, 3)]


def test_scaling_to_unit_length_works_in_place_and_leaves_zeros():
    vectors = np.array([[3, 4], [0, 0]], np.float32)
    assert scale_to_unit(vectors) is vectors
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0, 0]])


def test_faiss_is_asked_for_in_words_where_it_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    field = make_field(tmp_path / "s.store", [np.eye(2, dtype=np.float32)])
    with pytest.raises(ConfigError, match=r"--engine faiss needs the package faiss; install keyclip\[faiss\]"):
        Search(field, engine="faiss")

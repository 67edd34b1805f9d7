"""``keyclip bench search``: exact search in a store compared with the product of matrix and query alone."""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import store
from store.common.settings import Count, Few, Seed
from tools.query.search import Search, scale_to_unit

BLOCK_ROWS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Measure the exact nearest neighbours of one query at a time in a field of float16 vectors made at random.

    Contenders, alternating in one run, the best of --repeats: "in memory", as keyclip browse searches; "streamed", as
    keyclip store search does, page cache warm; "faiss", an IndexFlatIP of the same vectors (where installed); and the
    limit: the product of the query with a float32 matrix in memory, without picking the best. All answers are compared
    with a brute-force search in float64. --vectors of 384 numbers take 0.8 GB on disk and 5 GB of memory a million.

    Example: keyclip bench search --vectors 1000000 --dim 384
    """

    vectors: Count = 1_000_000
    """How many vectors."""
    dim: Few = 384
    """Numbers per vector."""
    k: Few = 10
    """How many neighbours."""
    repeats: Few = 5
    """Rounds; the best time of each contender counts."""
    seed: Seed = 0
    """Seed of the vectors."""
    folder: Path | None = None
    """Where the store is made, in a folder that is removed afterwards; by default the system's for temporary files."""
    json: bool = False
    """Print json."""


def run(config: Config) -> None:
    """Make the field, measure, print."""
    with tempfile.TemporaryDirectory(prefix="keyclip-bench-", dir=config.folder) as folder:
        field = _make_field(config, Path(folder) / "bench.store")
        result = measure(config, field)
    if config.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{config.vectors:,} vectors of {config.dim}, {config.k} nearest; read into memory in ", end="")
    print(f"{result['load_seconds']:.2f} s")
    print(f"{'':12}{'seconds':>10}{'of the limit':>14}{'same keys':>12}{'difference':>11}")
    for name, found in result["contenders"].items():
        agreement = f"{found['same_keys']!s:>12}{found['largest_difference']:11.1e}" if "same_keys" in found else ""
        print(f"{name:12}{found['seconds']:10.4f}{found['share_of_limit']:14.2f}{agreement}")


def _make_field(config: Config, path: Path) -> store.Field:
    spec = store.FieldSpec(
        model="random",
        revision=str(config.seed),
        kind="sentence",
        template="",
        pooling="mean",
        max_length=1,
        normalize=False,
        caption_field="none",
        dim=config.dim,
    )
    made = store.create(path)
    writer = made.writer("f", spec)
    random = np.random.default_rng(config.seed)
    for start in tqdm(range(0, config.vectors, BLOCK_ROWS), "make vectors", unit="block", disable=None):
        keys = [f"{row:09d}" for row in range(start, min(start + BLOCK_ROWS, config.vectors))]
        vectors = random.standard_normal((len(keys), config.dim), dtype=np.float32)
        writer.commit(f"b{start}", keys, vectors, np.zeros(len(keys), np.uint64))
    return made.field("f")


def measure(config: Config, field: store.Field) -> dict[str, Any]:
    """Seconds per query of every contender, their share of the limit's speed, and how well their answers agree."""
    keys = field.keys()
    query = np.random.default_rng(config.seed + 1).standard_normal((1, config.dim)).astype(np.float32)
    query += field.get(keys[:1], dtype="float32")
    started = time.perf_counter()
    kept = Search(field, max_bytes=4 * config.vectors * config.dim)
    load_seconds = time.perf_counter() - started
    matrix = scale_to_unit(field.get(keys, dtype="float32"))
    right = _brute_force(matrix, query, config.k)
    found: dict[str, dict[str, Any]] = {}
    answers: dict[str, Callable[[], tuple[list[str], NDArray[Any]] | None]] = {
        "in memory": lambda: _split(kept.nearest(query, config.k)[0]),
        "streamed": lambda: _split(Search(field).nearest(query, config.k)[0]),
        "the limit": lambda: (matrix @ query[0], None)[1],
    }
    if index := _faiss_index(matrix):
        answers["faiss"] = lambda: _named(index.search(scale_to_unit(query.copy()), config.k), keys)
    for _ in range(config.repeats):
        for name, answer in answers.items():
            started = time.perf_counter()
            given = answer()
            seconds = time.perf_counter() - started
            one = found.setdefault(name, {"seconds": seconds})
            one["seconds"] = min(one["seconds"], seconds)
            if given is not None:
                one["same_keys"] = given[0] == [keys[row] for row in right[0]]
                one["largest_difference"] = float(np.abs(given[1] - right[1]).max())
    for one in found.values():
        one["share_of_limit"] = found["the limit"]["seconds"] / one["seconds"]
    return {"vectors": config.vectors, "dim": config.dim, "load_seconds": load_seconds, "contenders": found}


def _brute_force(matrix: NDArray[np.float32], query: NDArray[np.float32], k: int) -> tuple[list[int], NDArray[Any]]:
    """Rows and cosines of the k best, in float64."""
    wide = query[0].astype(np.float64)
    cosines = np.empty(len(matrix))
    for start in range(0, len(matrix), BLOCK_ROWS):
        rows = matrix[start : start + BLOCK_ROWS].astype(np.float64)
        lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(wide)
        cosines[start : start + BLOCK_ROWS] = rows @ wide / lengths
    order = np.argsort(-cosines, kind="stable")[:k]
    return order.tolist(), cosines[order]


def _split(hits: Any) -> tuple[list[str], NDArray[Any]]:
    return [hit.key for hit in hits], np.array([hit.similarity for hit in hits])


def _named(answer: tuple[NDArray[Any], NDArray[Any]], keys: list[str]) -> tuple[list[str], NDArray[Any]]:
    similarity, rows = answer
    there = rows[0] >= 0
    return [keys[row] for row in rows[0][there]], similarity[0][there]


def _faiss_index(matrix: NDArray[np.float32]) -> Any:
    """An index of the matrix, or None where faiss is not installed."""
    try:
        import faiss
    except ImportError:
        return None
    index = faiss.IndexFlatIP(matrix.shape[1])
    index.add(matrix)
    return index

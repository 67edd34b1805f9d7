"""``keyclip bench store``: the store compared with other ways to keep vectors, on one machine in one run."""

import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from store.common.errors import ConfigError
from store.common.settings import Count, Few
from store.core.batch import hash_keys
from store.core.dtypes import default_output, row_bytes
from store.core.spec import StoredDtype
from tools.bench.gather_figures import report
from tools.bench.vector_layouts import BLOCK, CONTENDERS, Contender, Keyclip, KeyclipLmdb, KeyclipZarr, Memmap, key_of

BATCH = 1024
PATTERNS = ("random", "ordered", "window")
WINDOW = 10_000
WARM_UP = 3
COLD_BATCHES = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Measure gathers of 1,024 vectors from the store against the usual ways and against the limit.

    All contenders hold the same float16 vectors and take turns batch by batch; the median of a contender's times
    counts. Patterns: "random" rows; "ordered", neighbours as in a shard; "window", random rows within 10,000
    neighbours, as behind a shuffle buffer. Tars can only be read in order. The limit is `np.take` from a memory-mapped
    flat file with row numbers known in advance. Then, each in a process of its own: reading with a cold page cache,
    with and without the check at first touch; and the LMDB store at growing numbers of keys, alternating too.

    Example: keyclip bench store
    Example: keyclip bench store --num-vectors 200000 --sizes 20000 200000 2873538 --folder /nvme/tmp
    """

    num_vectors: Count = 20_000
    """Vectors that every contender holds."""
    dim: Few = 4096
    """Numbers per vector."""
    rounds: Few = 60
    """Batches per contender and pattern."""
    sizes: tuple[Count, ...] = (20_000, 200_000)
    """Numbers of keys for the table of sizes; none skips it."""
    size_dim: Few = 2048
    """Numbers per vector in the table of sizes."""
    size_dtype: StoredDtype = "int8"
    """How they are stored; int8 is read as float32."""
    folder: Path | None = None
    """Where to put the data, all of which is removed at the end. Default: the system's temporary folder."""
    json: bool = False
    """Print the result as json."""

    def __post_init__(self) -> None:
        if self.num_vectors < BATCH or any(size < BATCH for size in self.sizes):
            raise ConfigError(f"--num-vectors and --sizes must be at least {BATCH}, one batch")


class Blocks:
    """Blocks of random vectors that repeat under new row numbers; can be sent to another process."""

    def __init__(self, num_vectors: int, dim: int) -> None:
        self.num_vectors = num_vectors
        self.dim = dim

    def __iter__(self) -> Iterator[np.ndarray]:
        size = min(BLOCK, self.num_vectors)
        vectors = np.random.default_rng(0).standard_normal((size, self.dim), np.float32).astype(np.float16)
        for start in range(0, self.num_vectors, BLOCK):
            yield vectors[: self.num_vectors - start]


def run(config: Config) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="keyclip-bench-", dir=config.folder) as folder:
        result = measure(config, Path(folder))
    print(json.dumps(result, indent=2) if config.json else report(result))


def measure(config: Config, folder: Path) -> dict[str, Any]:
    """All figures, as plain json values."""
    contenders = [kind(folder, config.dim) for kind in CONTENDERS if kind.is_installed()]
    for contender in contenders:
        in_process(contender.write, Blocks(config.num_vectors, config.dim))
    cold = [in_process(read_cold, kind(folder, config.dim), config.num_vectors, check) for kind, check in COLD]
    seconds = gather(contenders, config.num_vectors, config.dim, config.rounds)
    return {
        "num_vectors": config.num_vectors,
        "dim": config.dim,
        "skipped": [f"{kind.name} (no package {kind.needs})" for kind in CONTENDERS if not kind.is_installed()],
        "contenders": [
            {
                "name": contender.name,
                "vectors_per_second": {pattern: BATCH / s for pattern, s in seconds[contender.name].items()},
                "bytes_per_vector": contender.num_bytes() / config.num_vectors,
            }
            for contender in contenders
        ],
        "cold": cold,
        "size_dim": config.size_dim,
        "size_dtype": config.size_dtype,
        "sizes": measure_sizes(config, folder),
    }


def in_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function called in a process of its own, so that it neither finds nor leaves anything mapped."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def rows_of(pattern: str, num_vectors: int, dice: np.random.Generator) -> np.ndarray:
    """Row numbers of one batch."""
    if pattern == "ordered":
        return dice.integers(num_vectors - BATCH + 1) + np.arange(BATCH)
    if pattern == "window":
        start = dice.integers(max(1, num_vectors - WINDOW + 1))
        return start + dice.integers(min(WINDOW, num_vectors), size=BATCH)
    return dice.integers(num_vectors, size=BATCH)


def gather(contenders: Sequence[Contender], num_vectors: int, dim: int, rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds of a batch, by contender and pattern; the contenders take turns batch by batch."""
    times: dict[str, dict[str, list[float]]] = {contender.name: {} for contender in contenders}
    out = np.empty((BATCH, dim), np.float16)
    for contender in contenders:
        contender.open()
        if not contender.by_position:
            touch_all(contender, num_vectors, dim)
    dice = np.random.default_rng(1)
    for pattern in PATTERNS:
        for number in range(rounds + WARM_UP):
            for contender in contenders:
                if contender.by_position and pattern != "ordered":
                    continue
                rows = rows_of(pattern, num_vectors, dice)
                keys = [key_of(row) for row in rows.tolist()]  # new objects, as a loader has just made them
                start = time.perf_counter()
                contender.read(rows, keys, out)
                if number >= WARM_UP:
                    times[contender.name].setdefault(pattern, []).append(time.perf_counter() - start)
    return {name: {p: float(np.median(t)) for p, t in patterns.items()} for name, patterns in times.items()}


def touch_all(contender: Contender, num_vectors: int, dim: int) -> None:
    """Read every vector once, so that pages are mapped and checksums compared."""
    out = np.empty((BATCH, dim), np.float16)
    for start in range(0, num_vectors - BATCH + 1, BATCH):
        rows = np.arange(start, start + BATCH)
        contender.read(rows, [key_of(row) for row in rows.tolist()], out)


def read_cold(contender: Contender, num_vectors: int, check: bool) -> dict[str, Any]:
    """Read random batches after the files were dropped from the page cache."""
    files = [contender.place] if contender.place.is_file() else [f for f in contender.place.rglob("*") if f.is_file()]
    for file in files:
        handle = os.open(file, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)
    if isinstance(contender, Keyclip):
        contender.check = check
    dice = np.random.default_rng(2)
    out = np.empty((BATCH, contender.dim), np.float16)
    seconds = []
    before = bytes_read()
    for number in range(COLD_BATCHES):
        rows = rows_of("random", num_vectors, dice)
        keys = [key_of(row) for row in rows.tolist()]
        start = time.perf_counter()
        if not number:
            contender.open()
        contender.read(rows, keys, out)
        seconds.append(time.perf_counter() - start)
    return {
        "name": contender.name + (", unchecked" if not check else ""),
        "first_batch_seconds": seconds[0],
        "vectors_per_second": BATCH * len(seconds) / sum(seconds),
        "bytes_read": bytes_read() - before,
    }


def bytes_read() -> int:
    """Bytes that this process has caused to be read from disks."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["read_bytes"])


def measure_sizes(config: Config, folder: Path) -> list[dict[str, Any]]:
    """The LMDB store at several numbers of keys."""
    stores = []
    for size in config.sizes:
        contender = KeyclipLmdb(folder, config.size_dim)
        contender.place = folder / f"{size}.store"
        contender.dtype = config.size_dtype
        in_process(contender.write, Blocks(size, config.size_dim))
        stores.append(contender)
    opened = [in_process(measure_open, c, size) for c, size in zip(stores, config.sizes, strict=True)]
    times: list[list[float]] = [[] for _ in stores]
    known: list[list[float]] = [[] for _ in stores]
    for contender in stores:
        contender.open()
        for block in contender.field.blocks():
            contender.field.read_block(block)
    dice = np.random.default_rng(3)
    out = np.empty((BATCH, config.size_dim), default_output(config.size_dtype))
    for _ in range(config.rounds):
        for contender, size, all_seconds, known_seconds in zip(stores, config.sizes, times, known, strict=True):
            rows = rows_of("random", size, dice)
            keys = [key_of(row) for row in rows.tolist()]
            start = time.perf_counter()
            contender.read(rows, keys, out)
            all_seconds.append(time.perf_counter() - start)
            keys = [key_of(row) for row in rows_of("random", size, dice).tolist()]
            with contender.field.snapshot() as snapshot:
                places = snapshot.locate(hash_keys(keys))
                start = time.perf_counter()
                contender.field.fill(snapshot, places, out)
                known_seconds.append(time.perf_counter() - start)
    return [
        {
            "num_keys": size,
            "vectors_per_second": BATCH / float(np.median(t)),
            "vectors_per_second_places_known": BATCH / float(np.median(k)),
            "bytes_per_vector": contender.num_bytes() / size,
            "payload_bytes_per_vector": row_bytes(config.size_dtype, config.size_dim),
            **about,
        }
        for contender, size, t, k, about in zip(stores, config.sizes, times, known, opened, strict=True)
    ]


def measure_open(contender: KeyclipLmdb, num_vectors: int) -> dict[str, float]:
    """Seconds to open and to get a first vector, and memory after a hundred batches, in a fresh process."""
    start = time.perf_counter()
    contender.open()
    opened = time.perf_counter()
    contender.field.get([key_of(0)])
    first = time.perf_counter()
    dice = np.random.default_rng(4)
    out = np.empty((BATCH, contender.dim), default_output(contender.dtype))
    for _ in range(100):
        contender.field.get([key_of(row) for row in rows_of("random", num_vectors, dice).tolist()], out=out)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "open_seconds": opened - start,
        "first_get_seconds": first - opened,
        "resident_bytes_beyond_page_cache": 1024 * int(status["RssAnon"].split()[0]),
    }


COLD: tuple[tuple[type[Contender], bool], ...] = (
    (Memmap, True),
    (KeyclipLmdb, True),
    (KeyclipLmdb, False),
    (KeyclipZarr, True),
    (KeyclipZarr, False),
)

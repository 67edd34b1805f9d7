"""``keyclip bench vectors``: imports and exports compared with a plain copy of the same bytes."""

import contextlib
import importlib.util
import io
import json
import os
import pkgutil
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

import store
from store.common.command import parse_config
from store.common.settings import Count, Few
from tools.bench.vector_layouts import BLOCK, bench_spec, key_of
from tools.interop.tars import end_mark, member_bytes

FIELD = "m/caption"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Measure how fast vectors go into a store and out of it, in every format, against copying the same files.

    A field of random float32 vectors is exported, the files are copied, and they are imported into a new store, by
    turns; medians count. All three end with the data flushed to the disk. What comes in is compared with what went out.

    Example: keyclip bench vectors --num-vectors 20000 --dim 4096
    """

    num_vectors: Count = 20_000
    """Vectors of the field."""
    dim: Few = 4096
    """Numbers per vector."""
    repeats: Few = 3
    """Turns of every format."""
    folder: Path | None = None
    """Where to put the data, all of which is removed at the end. Default: the system's temporary folder."""
    json: bool = False
    """Print the result as json."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Medians of one format, in seconds."""

    format: str
    export_seconds: float
    import_seconds: float
    copy_seconds: float
    num_bytes: int
    """Size of the exported files."""


def run(config: Config) -> None:
    """Measure and print a table."""
    with tempfile.TemporaryDirectory(dir=config.folder) as folder:
        results = list(measure(config, Path(folder)))
    if config.json:
        print(json.dumps([asdict(result) for result in results]))
        return
    print(f"{config.num_vectors:,} vectors of {config.dim} float32, median of {config.repeats}; copy = 1.00\n")
    print(f"{'':15}{'export, vectors/s':>20}{'import, vectors/s':>20}{'bytes / payload':>18}")
    payload = config.num_vectors * config.dim * 4
    for result in results:
        speeds = [
            f"{config.num_vectors / seconds:,.0f} ({result.copy_seconds / seconds:.2f})"
            for seconds in (result.export_seconds, result.import_seconds)
        ]
        print(f"{result.format:15}{speeds[0]:>20}{speeds[1]:>20}{result.num_bytes / payload:>18.3f}")


def measure(config: Config, folder: Path) -> Iterator[Result]:
    """One result for every format whose package is there."""
    shards = _prepare(config, folder)
    given = {
        "sidecar": (["--fields", FIELD, "--shards", *shards], ["--shards", *shards]),
        "merged": (["--fields", FIELD, "--shards", *shards], ["--caption-fields", "caption"]),
        "dpt": (["--fields", FIELD], ["--caption-fields", "caption"]),
        "clip-retrieval": (["--field", FIELD], ["--caption-field", "caption"]),
        "parquet": (["--fields", FIELD], []),
        "lance": (["--fields", FIELD], []),
    }
    for name, (to_export, to_import) in given.items():
        if name == "lance" and importlib.util.find_spec("lance") is None:
            continue
        yield _measure_format(config, folder, name, to_export, to_import)


def _prepare(config: Config, folder: Path) -> list[str]:
    """A store with the field, and image tars of the same keys; returns the tars."""
    writer = store.create(folder / "s.store").writer(FIELD, bench_spec(config.dim, "float32"))
    shards = []
    for start in range(0, config.num_vectors, BLOCK):
        keys = [key_of(row) for row in range(start, min(start + BLOCK, config.num_vectors))]
        vectors = np.random.default_rng(start).standard_normal((len(keys), config.dim), np.float32)
        captions = [f"caption of {key}" for key in keys]
        writer.commit(f"{start}", keys, vectors, store.caption_hashes(captions))
        shards.append(str(folder / f"{start // BLOCK:05d}.tar"))
        with Path(shards[-1]).open("wb") as tar:
            for key, caption in zip(keys, captions, strict=True):
                for extension, data in (("jpg", bytes(1000)), ("json", json.dumps({"caption": caption}).encode())):
                    tar.write(member_bytes(f"{key}.{extension}", data))
            tar.write(end_mark(tar.tell()))
    return shards


def _measure_format(
    config: Config, folder: Path, name: str, to_export: Sequence[str], to_import: Sequence[str]
) -> Result:
    out, copied, again = folder / "out", folder / "copied", folder / "again.store"
    target = out / "vectors.dpt" if name == "dpt" else out
    times: list[tuple[float, ...]] = []
    for _ in range(config.repeats):
        for place in (out, copied, again):
            shutil.rmtree(place, ignore_errors=True)
        exporting = ["export", name, str(folder / "s.store"), *to_export, "--output", str(target)]
        seconds = [_timed(partial(_call, *exporting))]
        seconds.append(_timed(partial(_copy, out, copied)))
        sources = {"dpt": [target], "clip-retrieval": [out], "lance": [out]}.get(name) or sorted(
            [*out.glob("*.tar"), *out.glob("*.parquet")]
        )
        importing = ["import", name, *map(str, sources), *to_import, "--store", str(again), "--model", "m"]
        seconds.append(_timed(partial(_call, *importing)))
        times.append(tuple(seconds))
        _require_same(folder / "s.store", again)
    export_seconds, copy_seconds, import_seconds = map(statistics.median, zip(*times, strict=True))
    num_bytes = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    return Result(
        format=name,
        export_seconds=export_seconds,
        import_seconds=import_seconds,
        copy_seconds=copy_seconds,
        num_bytes=num_bytes,
    )


def _call(direction: str, name: str, *argv: str) -> None:
    """``keyclip vectors DIRECTION FORMAT ...`` without its report."""
    command = pkgutil.resolve_name(f"tools.commands.vectors.{direction}ing:{name.replace('-', '_').upper()}")
    config = parse_config(command.Config, argv, f"keyclip vectors {direction} {name}")
    with contextlib.redirect_stdout(io.StringIO()):
        command.run(config)


def _timed(function: Callable[[], None]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def _copy(source: Path, target: Path) -> None:
    """Every byte read and written once, in large pieces, and flushed."""
    for file in [file for file in source.rglob("*") if file.is_file()]:
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        with file.open("rb") as reading, place.open("wb") as writing:
            while piece := reading.read(2**20):
                writing.write(piece)
            writing.flush()
            os.fsync(writing.fileno())


def _require_same(ours: Path, theirs: Path) -> None:
    before, after = store.open(ours).field(FIELD), store.open(theirs).field(FIELD)
    for block in before.blocks():
        keys, vectors = before.read_block(block)
        if after.get(keys).tobytes() != vectors.tobytes():
            raise AssertionError(f"block {block!r} came back with other numbers")

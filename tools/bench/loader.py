"""``keyclip bench loader``: the joined loader compared with packed tars and with decoding alone, in one run."""

import gc
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from tqdm import tqdm

from store.common.errors import ConfigError
from store.common.settings import Count, Few, PixelSize, Workers
from tools.bench.bars import Bar, bar_table
from tools.bench.batch_readers import CONTENDERS, Batches, Loading, keyclip, pack
from tools.bench.pairs import FIELDS, SHARD_SIZE, make_samples
from trainer.data.pairs import PairConfig, PairData
from trainer.images.transform import ImageTransform
from trainer.model.tower_base import ImageTower, Tower

MEMORY_READINGS = 50
MAX_SLOPE = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Measure the loader of stage 2: image shards joined with a store by sample key.

    Contenders take turns; each turn starts the loader's workers anew, passes over some batches and times the next.
    "keyclip": shuffled, joined, each caption compared with its vector's hash. "packed tars": the vectors as float32
    members of the image tars; "tar sidecar": in a tar next to each image tar, read in lock-step; both laid out
    as by LLM2CLIP, read by webdataset from start to end without shuffling, decoded and augmented by keyclip's code.
    "sidecar, Pillow": the last with images prepared as published scripts do it, by Pillow and in float32.
    "decode only": keyclip's loader without the join, which is the limit. The median over turns of each ratio counts;
    the median ratio of CPU times, workers' start included, says more on a busy machine.

    Without --shards, samples are made: scenes with grain as JPEG, and two random vectors of --dim numbers for each.

    Example: keyclip bench loader
    Example: keyclip bench loader --shards 'cc3m/{00000..00003}.tar' --store cc3m.store
        --fields llama/shortSV_captions llama/longSV_captions --workers 8
    """

    shards: tuple[str, ...] = ()
    """Shards to use instead of made ones; as many of their samples as --num-samples."""
    store: Path | None = None
    """The store with the vectors of --shards."""
    fields: tuple[str, ...] = ()
    """Fields of that store."""
    num_samples: Count = 8000
    """Samples to make; at least 1,000 for each worker."""
    dim: Few = 4096
    """Numbers per made vector."""
    picture_size: PixelSize = 256
    """Side of made pictures, in pixels."""
    image_size: PixelSize = 224
    """Side of the images that a tower sees, in pixels."""
    batch_size: Few = 256
    """Samples per batch."""
    workers: Workers = 2
    """Loader processes; 0 loads in this one."""
    batches: Few = 16
    """Batches that are timed in a turn."""
    rounds: Few = 7
    """Turns of each contender."""
    steps: int = 0
    """Batches over which keyclip's memory is watched afterwards, such as 10000; 0 leaves it out."""
    folder: Path | None = None
    """Where to put made data and packed copies, all removed at the end. Default: the system's temporary folder."""
    json: bool = False
    """Print the result as json."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "batches", "rounds", "dim"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(self, name)}")
        if bool(self.shards) != bool(self.store):
            raise ConfigError("--shards and --store belong together; give both, or none to have samples made")
        if not self.shards and self.num_samples < max(self.batch_size, SHARD_SIZE * self.workers):
            raise ConfigError(f"--num-samples {self.num_samples} is too few for a batch, or a shard for each worker")


def run(config: Config) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="keyclip-bench-", dir=config.folder) as folder:
        result = measure(config, Path(folder))
    print(json.dumps(result, indent=2) if config.json else report(result))


def measure(config: Config, folder: Path) -> dict[str, Any]:
    """All figures, as plain json values."""
    loading = prepare(config, folder)
    turns: dict[str, list[tuple[float, float]]] = {name: [] for name in CONTENDERS}
    for _ in tqdm(range(config.rounds), "rounds", disable=None):
        for name, start in CONTENDERS.items():
            turns[name].append(time_turn(start, loading, config.batches))
    num_samples = config.batches * config.batch_size
    return {
        "samples": sum(source.num_samples for source in loading.pairs.sources),
        "batch_size": config.batch_size,
        "workers": config.workers,
        "dim": loading.pairs.join.dim,
        "image_size": config.image_size,
        "load": os.getloadavg()[0],
        "contenders": [
            {
                "name": name,
                "samples_per_second": num_samples / float(np.median([seconds for seconds, _ in times])),
                "cpu_ms_per_sample": 1e3 * float(np.median([cpu for _, cpu in times])),
                "keyclip_is_faster_by": median_ratio(times, turns["keyclip"], 0),
                "keyclip_takes_less_cpu_by": median_ratio(times, turns["keyclip"], 1),
            }
            for name, times in turns.items()
        ],
        "memory": watch_memory(loading, config.steps) if config.steps else None,
    }


def prepare(config: Config, folder: Path) -> Loading:
    """The samples, and their packed copies."""
    made = None if config.shards else make_samples(folder, config.num_samples, config.dim, config.picture_size)
    settings = PairConfig(
        shards=made.shards if made else config.shards,
        store=made.store if made else config.store,
        fields=FIELDS if made else config.fields,
        missing="skip",
        broken="skip",
    )
    tower = Tower(ImageTower(nn.Identity()), 0, ImageTransform(size=config.image_size))
    pairs = PairData(settings, tower, seed=0)
    packed, sidecars = pack(folder, pairs.parts[0].samples.shards, pairs.join, config.num_samples)
    if len(packed) < config.workers:
        raise ConfigError(f"{len(packed)} shards are too few for {config.workers} workers, each of which reads its own")
    return Loading(pairs, packed, sidecars, config.batch_size, config.workers)


def time_turn(start: Callable[[Loading], Batches], loading: Loading, num_batches: int) -> tuple[float, float]:
    """Seconds of ``num_batches`` batches, and CPU seconds per sample from the workers' start to their end."""
    warm_up = 2 * max(1, loading.workers)
    before = cpu_seconds()
    loader = start(loading)
    for _ in range(warm_up):
        next(loader)
    began = time.perf_counter()
    for _ in range(num_batches):
        next(loader)
    seconds = time.perf_counter() - began
    del loader
    gc.collect()  # ends the workers
    return seconds, (cpu_seconds() - before) / (loading.batch_size * (num_batches + warm_up))


def cpu_seconds() -> float:
    """CPU seconds of this process, and of the processes that it has started and waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def median_ratio(theirs: Sequence[tuple[float, float]], ours: Sequence[tuple[float, float]], which: int) -> float:
    """The median over turns of their time by ours."""
    return float(np.median([t[which] / o[which] for t, o in zip(theirs, ours, strict=True)]))


def watch_memory(loading: Loading, steps: int) -> dict[str, Any]:
    """Private memory of this process and its workers while keyclip's loader runs; its slope after a fifth."""
    loader, readings = keyclip(loading), []
    every = max(1, steps // MEMORY_READINGS)
    for step in tqdm(range(1, steps + 1), "memory", disable=None):
        next(loader)
        if step % every == 0:
            readings.append((step, *memory()))
    later = np.array(readings)[len(readings) // 5 :]
    slope = np.polyfit(later[:, 0], later[:, 1], 1)[0] if len(later) > 1 else 0.0
    return {
        "steps": [step for step, *_ in readings],
        "private_megabytes": [private / 1e6 for _, private, _ in readings],
        "with_shared_megabytes": [total / 1e6 for *_, total in readings],
        "megabytes_per_1000_steps": float(slope) * 1000 / 1e6,
    }


def memory() -> tuple[int, int]:
    """Bytes of this process and its workers: private ones, and with their share of what is shared (PSS).

    What is shared includes the pages of the store and the shards that are in the page cache.
    """
    private = total = 0
    for process in (os.getpid(), *(child.pid for child in multiprocessing.active_children())):
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {name: int(value.split()[0]) * 1024 for name, value in (line.split(":") for line in lines)}
        private, total = private + sizes["Pss_Anon"], total + sizes["Pss"]
    return private, total


def bars(result: dict[str, Any]) -> Iterator[Bar]:
    """The bars that the figures decide."""
    faster = {each["name"]: each["keyclip_is_faster_by"] for each in result["contenders"]}
    for name in ("packed tars", "tar sidecar"):
        yield Bar(what=f"samples/s, keyclip / {name}", measured=faster[name], target=1.0)
    yield Bar(what="samples/s, keyclip / decode only", measured=faster["decode only"], target=0.95)
    if result["memory"]:
        slope = result["memory"]["megabytes_per_1000_steps"]
        yield Bar(what="memory per 1,000 steps", measured=slope, target=MAX_SLOPE, at_most=True, unit=" MB")


def report(result: dict[str, Any]) -> str:
    """The tables for people."""
    lines = [
        f"{result['samples']:,} samples, batches of {result['batch_size']}, {result['dim']}-d vectors, "
        f"{result['image_size']} pixels, {result['workers']} workers, load of the machine {result['load']:.1f}",
        f"{'':18}{'samples/s':>12}{'CPU ms/sample':>16}{'keyclip faster':>16}{'less CPU':>10}",
    ]
    for each in result["contenders"]:
        rates = f"{each['samples_per_second']:12,.0f}{each['cpu_ms_per_sample']:16.3f}"
        ratios = f"{each['keyclip_is_faster_by']:15.2f}x{each['keyclip_takes_less_cpu_by']:9.2f}x"
        lines.append(f"{each['name']:18}{rates}{ratios}")
    if watched := result["memory"]:
        lines += ["", "Memory of the loader and its workers, MB (private; with their share of shared pages)"]
        rows = zip(watched["steps"], watched["private_megabytes"], watched["with_shared_megabytes"], strict=True)
        table = [f"{step:8,} steps{private:12,.1f}{total:12,.1f}" for step, private, total in rows]
        lines += table[:: max(1, len(table) // 10)]
    return "\n".join([*lines, "", *bar_table(list(bars(result)))])

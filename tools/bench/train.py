"""``keyclip bench train``: stage 1 from the store against an online teacher, and stage 2's wait for data."""

import json
import os
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tqdm import tqdm

from store.common.errors import ConfigError
from store.common.settings import AboveZero, Few, PixelSize, Workers, build
from store.sources.shards import iter_samples, load_json
from tools.bench.bars import Bar, bar_table
from tools.bench.clip_shapes import Shape, joint_width, save_clip
from tools.bench.pairs import FIELDS, TEACHER_FIELDS, MadeSamples, make_samples
from trainer.data.loader import batches, make_plan
from trainer.engine.deepspeed_engine import make_engine, start_ranks, stop_ranks
from trainer.run.stage import Stage
from trainer.settings.config import RunConfig
from trainer.stage1 import Stage1, Stage1Config
from trainer.stage2 import Stage2, Stage2Config

MIN_SPEED_UP = 10.0
MAX_WAIT = 0.02
# dense bf16 peak, TFLOP/s, as the makers' data sheets say; matched against the device's name
PEAKS = {
    "H100 PCIe": 756, "H100": 989, "H200": 989, "B200": 2250, "A100": 312, "A40": 150, "A10G": 70, "A10": 125,
    "L40S": 362, "L40": 181, "L4": 121, "RTX 4090": 165, "RTX 3090": 71,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Measure training steps by the trainer's own stages, loader and DeepSpeed engine, on one device.

    Stage 1, two captions a sample: "store" reads both kinds of vectors from the store; "online" reads vectors from the
    store and captions from the tars and runs CLIP's text tower at every step, as published. Turns alternate; each
    starts the loader anew, passes over a step and times the next ones; the median ratio over turns counts. Stage 2
    (ProCLIP: contrastive, with self-distillation against an EMA teacher): samples/s, the share of a step spent waiting
    for data, and how many times as fast the loader alone is. Models have random weights; data is made.

    Operations of a step (matrix products, forward and backward, teacher included) are counted as they are executed;
    "peak" is their share of the GPU's bf16 peak.

    Example: keyclip bench train
    Example: keyclip bench train --dim 4096 --stage1-batch 512 --stage2-shape ViT-L/14 --stage2-batch 256 --workers 16
    """

    dim: Few = 1024
    """Numbers per caption vector."""
    num_blocks: Few = 4
    """Residual blocks of the adapter."""
    expansion: Few = 2
    """Expansion of each block."""
    stage1_shape: Shape = "ViT-L/14"
    """Shape of the CLIP whose text tower is the teacher of stage 1."""
    stage1_batch: Few = 32
    """Samples per step of stage 1."""
    stage2_shape: Shape = "ViT-B/32"
    """Shape of the CLIP whose image tower stage 2 tunes."""
    stage2_batch: Few = 16
    """Samples per step of stage 2."""
    picture_size: PixelSize = 256
    """Side of the made pictures, in pixels."""
    steps: Few = 2
    """Steps that are timed in a turn."""
    rounds: Few = 3
    """Turns of each contender."""
    workers: Workers = 1
    """Loader processes."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """bf16 on a GPU, else fp32."""
    threads: Few | None = None
    """CPU threads of the models; by default all cores."""
    peak_tflops: AboveZero | None = None
    """The device's peak, where it is not a well-known GPU."""
    folder: Path | None = None
    """Where to put made data and models, removed at the end. Default: the system's temporary folder."""
    json: bool = False
    """Print the result as json."""

    def __post_init__(self) -> None:
        for name in ("dim", "num_blocks", "expansion", "stage1_batch", "stage2_batch", "steps", "rounds"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(self, name)}")


def run(config: Config) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="keyclip-bench-", dir=config.folder) as folder:
        result = measure(config, Path(folder))
    print(json.dumps(result, indent=2) if config.json else report(result))


class Steps:
    """Steps of one stage, by the engine and the loader that a run has."""

    def __init__(self, name: str, stage: Stage, config: RunConfig, device: torch.device) -> None:
        self.name, self.stage, self.config, self.device = name, stage, config, device
        self.engine = make_engine(stage.module, config, 1, stage.lr_scale)
        stage.to(device)
        self.flops = self._count()

    def _loader(self) -> Iterator[dict[str, Any]]:
        config, data = self.config, self.stage.data
        plan = make_plan(sum(source.epoch_size for source in data.sources), config.batch_size)
        return batches(
            data, plan, range(10**9), seed=0, window=config.shuffle_window, rank=0, ranks=1, accumulation=1,
            workers=config.workers, pin_memory=self.device.type == "cuda",
        )  # fmt: skip

    def _step(self, batch: dict[str, Any]) -> None:
        tensors = {name: value for name, value in batch.items() if isinstance(value, torch.Tensor)}
        loss, _ = self.engine({name: value.to(self.device, non_blocking=True) for name, value in tensors.items()})
        self.engine.backward(loss)
        self.engine.step()
        self.stage.after_step(self.engine)

    def _count(self) -> int:
        """Floating-point operations of a step."""
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            self._step(next(self._loader()))
        return int(counter.get_total_flops())

    def turn(self, num_steps: int) -> tuple[float, float]:
        """Seconds of ``num_steps`` steps, and how many of them passed waiting for data."""
        loader, waited = self._loader(), 0.0
        self._step(next(loader))
        self._wait_for_device()
        began = time.perf_counter()
        for _ in range(num_steps):
            asked = time.perf_counter()
            batch = next(loader)
            waited += time.perf_counter() - asked
            self._step(batch)
        self._wait_for_device()
        return time.perf_counter() - began, waited

    def loading_alone(self, num_batches: int) -> float:
        """Seconds of a batch where nothing but loading is done."""
        loader = self._loader()
        for _ in range(2 * max(1, self.config.workers)):
            next(loader)
        began = time.perf_counter()
        for _ in range(num_batches):
            next(loader)
        return (time.perf_counter() - began) / num_batches

    def _wait_for_device(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def measure(config: Config, folder: Path) -> dict[str, Any]:
    """All figures, as plain json values."""
    # DeepSpeed calls names that torch is renaming
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    num_samples = max(config.stage1_batch, config.stage2_batch, 512)
    made = make_samples(folder, num_samples, config.dim, config.picture_size, joint_width(config.stage1_shape))
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if torch.cuda.is_available() else "fp32"
    shared: dict[str, Any] = {
        "output": folder,
        "store": made.store,
        "fields": FIELDS,
        "num_blocks": config.num_blocks,
        "expansion": config.expansion,
        "precision": precision,
        "workers": config.workers,
        "threads": config.threads or os.cpu_count(),
    }
    try:
        _, _, device = start_ranks(shared["threads"])
        name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {shared['threads']} threads"
        peak = config.peak_tflops or next((tflops for gpu, tflops in PEAKS.items() if gpu in name), None)
        result: dict[str, Any] = {
            "device": name,
            "precision": precision,
            "load": os.getloadavg()[0],
            "peak_tflops": peak,
            "dim": config.dim,
            "num_blocks": config.num_blocks,
            "expansion": config.expansion,
            "stage1": measure_stage1(config, made, shared, device, folder),
            "stage2": measure_stage2(config, made, shared, device, folder),
        }
    finally:
        stop_ranks()
    for row in (*result["stage1"]["contenders"], result["stage2"]):
        row["share_of_peak"] = row["tflops_per_second"] / peak if peak else None
    return result


def measure_stage1(
    config: Config, made: MadeSamples, shared: dict[str, Any], device: torch.device, folder: Path
) -> dict[str, Any]:
    """The store and an online teacher, alternating."""
    clip = save_clip(folder / "text", config.stage1_shape, "text", captions_of(made))
    sources: dict[str, dict[str, Any]] = {
        "store": {"teacher_fields": TEACHER_FIELDS},
        "online": {"teacher": "online", "clip": clip, "shards": made.shards},
    }
    contenders = []
    for name, source in sources.items():
        settings = build(Stage1Config, shared | source | {"batch_size": config.stage1_batch})
        contenders.append(Steps(name, Stage1(settings), settings.run, device))
    turns: dict[str, list[tuple[float, float]]] = {name: [] for name in sources}
    for _ in tqdm(range(config.rounds), "stage 1", disable=None):
        for steps in contenders:
            turns[steps.name].append(steps.turn(config.steps))
    ratios = [theirs[0] / ours[0] for theirs, ours in zip(turns["online"], turns["store"], strict=True)]
    rows = [figures(steps, turns[steps.name], config.steps) for steps in contenders]
    return {"shape": config.stage1_shape, "contenders": rows, "speed_up": float(np.median(ratios))}


def captions_of(made: MadeSamples) -> list[str]:
    """All captions of the made samples."""
    contents = [
        load_json(members["json"], key, shard)
        for shard in made.shards
        for key, members in iter_samples(shard, ["json"])
    ]
    return [str(content[name.split("/")[1]]) for content in contents for name in FIELDS]


def measure_stage2(
    config: Config, made: MadeSamples, shared: dict[str, Any], device: torch.device, folder: Path
) -> dict[str, Any]:
    """ProCLIP's second stage."""
    clip = save_clip(folder / "image", config.stage2_shape, "image", ["a picture"])
    more = {"clip": clip, "shards": made.shards, "batch_size": config.stage2_batch}
    settings = build(Stage2Config, shared | more)
    steps = Steps("stage 2", Stage2(settings), settings.run, device)
    turns = [steps.turn(config.steps) for _ in tqdm(range(config.rounds), "stage 2", disable=None)]
    row = figures(steps, turns, config.steps)
    step_seconds = float(np.median([seconds for seconds, _ in turns])) / config.steps
    row["loader_is_faster_by"] = step_seconds / steps.loading_alone(max(8, config.steps))
    return row | {"shape": config.stage2_shape}


def figures(steps: Steps, turns: Sequence[tuple[float, float]], num_steps: int) -> dict[str, Any]:
    """A contender's figures: medians over its turns."""
    seconds = float(np.median([seconds for seconds, _ in turns])) / num_steps
    return {
        "name": steps.name,
        "batch_size": steps.config.batch_size,
        "workers": steps.config.workers,
        "samples_per_second": steps.config.batch_size / seconds,
        "step_ms": 1e3 * seconds,
        "wait_share": float(np.median([waited / seconds for seconds, waited in turns])),
        "tflop_per_step": steps.flops / 1e12,
        "tflops_per_second": steps.flops / 1e12 / seconds,
    }


def bars(result: dict[str, Any]) -> Iterator[Bar]:
    """The bars that the figures decide."""
    yield Bar(what="stage 1, samples/s, store / online", measured=result["stage1"]["speed_up"], target=MIN_SPEED_UP)
    waiting = 100 * result["stage2"]["wait_share"]
    yield Bar(what="stage 2, wait for data", measured=waiting, target=100 * MAX_WAIT, at_most=True, unit=" %")


def report(result: dict[str, Any]) -> str:
    """The tables for people."""
    lines = [
        f"{result['device']}, {result['precision']}, load of the machine {result['load']:.1f}; vectors of "
        f"{result['dim']} numbers, adapter of {result['num_blocks']} blocks, expansion {result['expansion']}",
        f"{'':34}{'batch':>8}{'samples/s':>12}{'step':>12}{'waiting':>10}{'TFLOP/step':>12}{'TFLOP/s':>10}{'peak':>8}",
    ]
    first, second = result["stage1"], result["stage2"]
    names = [f"stage 1, {row['name']} ({first['shape']} text)" for row in first["contenders"]]
    names.append(f"stage 2 ({second['shape']} image)")
    for name, row in zip(names, [*first["contenders"], second], strict=True):
        peak = "" if row["share_of_peak"] is None else f"{100 * row['share_of_peak']:.0f} %"
        lines.append(
            f"{name:34}{row['batch_size']:8}{row['samples_per_second']:12,.1f}{row['step_ms']:9,.0f} ms"
            f"{100 * row['wait_share']:8.2f} %{row['tflop_per_step']:12.3f}{row['tflops_per_second']:10.3f}{peak:>8}"
        )
    lines.append(
        f"stage 2's loader alone ({second['workers']} workers) is {second['loader_is_faster_by']:.1f} times as fast "
        "as its steps"
    )
    return "\n".join([*lines, "", *bar_table(list(bars(result)))])

"""Started by ``deepspeed``: engines of every ZeRO stage and precision in one group of ranks; results as json.

``python -m tests.trainer.engines SETTINGS RESULTS`` with the settings of a stage 2.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from deepspeed.accelerator import get_accelerator

from store.common.settings import build
from trainer.checkpoint.folder import find_checkpoint, read_checkpoint_info, read_tensors
from trainer.data.samples import ShardSamples
from trainer.engine.deepspeed_engine import (
    leave,
    make_engine,
    parameter_groups,
    set_learning_rate,
    start_ranks,
    stop_ranks,
)
from trainer.engine.loss_scale import DivergedError, loss_scale_state, set_loss_scale_state, take_step
from trainer.engine.master_weights import adam_step, clamp_master, full_state, set_full_state
from trainer.evaluation.sets.images import ImageSubset
from trainer.evaluation.validation import divided_features
from trainer.model.towers import load_image_tower
from trainer.run.resume import load_training_state, save_training_state
from trainer.settings.config import OptimConfig, RunConfig
from trainer.stage2 import Stage2, Stage2Config

CONFIGURATIONS = [(zero_stage, precision) for zero_stage in (0, 1, 2) for precision in ("fp32", "bf16")]
TOP = 4.605
ROWS = 2
SCALING = {"cur_scale": 1024.0, "cur_iter": 0, "last_overflow_iter": -1, "cur_hysteresis": 2, "skipped_steps": 0}


class Small(torch.nn.Module):
    """Two layers, and a parameter that every step pushes up by the learning rate."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up, self.down = torch.nn.Linear(8, 7), torch.nn.Linear(7, 3)
        self.logit_scale = torch.nn.Parameter(torch.full((1,), 4.55))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.up(x.to(self.up.weight.dtype)))
        return self.down(hidden).float().square().mean() - self.logit_scale.float().sum()


def batch_of(step: int, rank: int) -> torch.Tensor:
    return torch.randn(ROWS, 8, generator=torch.Generator().manual_seed(10 * step + rank))


def small_engine(zero_stage: int, precision: Any, ranks: int, accumulation: int = 1) -> Any:
    config = RunConfig(
        output=Path("none"), batch_size=ROWS * ranks, precision=precision, zero_stage=zero_stage,
        optim=OptimConfig(learning_rate=0.1, weight_decay=0.1, grad_clip=0.5), accumulation=accumulation,
    )  # fmt: skip
    return make_engine(Small(), config, ranks)


def take_steps(engine: Any, steps: range, rank: int, clamp: str = "master") -> tuple[list[float], list[float]]:
    """The losses, and the temperature parameter as the module shows it after every step."""
    losses, shown = [], []
    for step in steps:
        loss = engine(batch_of(step, rank))
        engine.backward(loss)
        engine.step()
        if clamp == "master":
            clamp_master(engine, engine.module.logit_scale, 0.0, TOP)
        else:
            engine.module.logit_scale.data.clamp_(0.0, TOP)
        losses.append(loss.item())
        shown.append(engine.module.logit_scale.item())
    return losses, shown


def states(engine: Any) -> dict[str, dict[str, torch.Tensor]]:
    return {name: full_state(engine, p) for name, p in engine.module.named_parameters() if p.requires_grad}


def restore(engine: Any, saved: dict[str, dict[str, torch.Tensor]], step: int) -> None:
    for name, parameter in engine.module.named_parameters():
        set_full_state(engine, parameter, saved[name], step)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(torch.equal(one[name][kind], other[name][kind]) for name in one for kind in one[name])


def distance(one: dict[str, Any], other: dict[str, Any]) -> float:
    return max((one[name]["master"] - other[name]["master"]).abs().max().item() for name in one)


def plain_adamw(steps: range, ranks: int) -> dict[str, dict[str, torch.Tensor]]:
    """One process, no DeepSpeed: the same steps on the whole batch with PyTorch's own AdamW and clipping."""
    module = Small()
    groups = parameter_groups(module.named_parameters(), 0.1)
    optimizer = torch.optim.AdamW(groups, lr=0.1, betas=(0.9, 0.98), eps=1e-6)
    for step in steps:
        optimizer.zero_grad()
        torch.stack([module(batch_of(step, rank)) for rank in range(ranks)]).mean().backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 0.5)
        optimizer.step()
        module.logit_scale.data.clamp_(0.0, TOP)
    return {name: {"master": parameter.detach()} for name, parameter in module.named_parameters()}


def equal_on_ranks(saved: dict[str, dict[str, torch.Tensor]]) -> bool:
    flat = torch.cat([value.flatten() for kinds in saved.values() for value in kinds.values()])
    others = [torch.empty_like(flat) for _ in range(dist.get_world_size())]
    dist.all_gather(others, flat)
    return all(torch.equal(flat, other) for other in others)


def master_weights(zero_stage: int, precision: str, rank: int, ranks: int) -> dict[str, Any]:
    engine = small_engine(zero_stage, precision, ranks)
    started = distance(states(engine), plain_adamw(range(0), ranks))
    _, shown = take_steps(engine, range(3), rank)
    saved, adam = states(engine), adam_step(engine, iter(engine.module.parameters()))
    losses, more = take_steps(engine, range(3, 6), rank)
    ended = states(engine)
    again = small_engine(zero_stage, precision, ranks)
    restore(again, saved, adam)
    restored = states(again)
    repeated, _ = take_steps(again, range(3, 6), rank)
    for group in engine.optimizer.param_groups:
        group["lr"] = 0.0
    take_steps(engine, range(6, 7), rank)
    loose = small_engine(zero_stage, precision, ranks)
    take_steps(loose, range(6), rank, clamp="module")
    return {
        "distance_at_start": started,
        "temperatures": shown + more,
        "temperature_master": ended["logit_scale"]["master"].item(),
        "temperature_master_clamped_in_the_module": states(loose)["logit_scale"]["master"].item(),
        "adam_step": adam,
        "equal_on_ranks": equal_on_ranks(saved),
        "restored_equals_saved": same(restored, saved),
        "losses": losses,
        "losses_after_restoring": repeated,
        "ended_equally": same(states(again), ended),
        "distance_from_plain_adamw": distance(saved, plain_adamw(range(3), ranks)),
        "moved": distance(saved, plain_adamw(range(0), ranks)),
        "module_shows_master": all(
            torch.equal(parameter.detach(), ended[name]["master"].to(parameter.dtype))
            for name, parameter in again.module.named_parameters()
        ),
        "moved_at_learning_rate_0": distance(states(engine), ended),
    }


def zero_2_on_zero_0(precision: str, rank: int, ranks: int) -> dict[str, Any]:
    two = small_engine(2, precision, ranks)
    take_steps(two, range(3), rank)
    saved, adam = states(two), adam_step(two, iter(two.module.parameters()))
    none = small_engine(0, precision, ranks)
    restore(none, saved, adam)
    equal = same(states(none), saved)
    take_steps(two, range(3, 6), rank)
    take_steps(none, range(3, 6), rank)
    return {"restored_equals_saved": equal, "distance_after_3_steps": distance(states(two), states(none))}


def run_stage(stage: Stage2, engine: Any, steps: range, rank: int, ranks: int) -> list[float]:
    losses = []
    for step in steps:
        places = np.arange(8 * step, 8 * step + 8).reshape(ranks, -1)[rank]
        batch = stage.data.load(places % 24, 0, places)
        del batch["left_out"]
        loss, _ = engine(batch)
        engine.backward(loss)
        if take_step(engine):
            stage.after_step(engine)
        losses.append(loss.item())
    return losses


def accumulated(zero_stage: int, rank: int, ranks: int) -> dict[str, Any]:
    """Three steps of micro-batches of one row against the same steps on whole batches."""
    engine = small_engine(zero_stage, "fp32", ranks, accumulation=ROWS)
    for step in range(3):
        for row in batch_of(step, rank):
            engine.backward(engine(row[None]))
            engine.step()
        clamp_master(engine, engine.module.logit_scale, 0.0, TOP)
    return {"distance_from_whole_batches": distance(states(engine), plain_adamw(range(3), ranks))}


def self_distillation(settings: dict[str, Any], zero_stage: int, precision: Any, rank: int, ranks: int) -> dict:
    """Stage 2 under DeepSpeed: what becomes of the teacher, and a save and resume in the middle."""
    output = Path(settings["output"]) / f"{zero_stage}-{precision}"
    more = {"output": output, "zero_stage": zero_stage, "precision": precision, "ema_momentum": 0.5, "workers": 0}
    more |= {"learning_rate": 1e-2, "store": Path(settings["store"]), "expansion": 2}
    config = build(Stage2Config, settings | more)
    stage, engine = start_stage(config, ranks)
    set_loss_scale_state(engine, SCALING)
    teacher = stage.objective.teacher
    before = {name: value.clone() for name, value in teacher.average.items()}
    run_stage(stage, engine, range(1), rank, ranks)
    students = dict(stage.objective.image.named_parameters())
    drift = max(
        (value - (0.5 * before[name] + 0.5 * students[name].float())).abs().max().item()
        for name, value in teacher.average.items()
    )
    save_training_state(config, engine, stage, 1, 3, rank)
    losses = run_stage(stage, engine, range(1, 3), rank, ranks)
    other, other_engine = start_stage(config, ranks)
    step = load_training_state(config.run.output, other_engine, other)
    repeated = run_stage(other, other_engine, range(1, 3), rank, ranks)
    return {
        "average_dtypes": sorted({str(value.dtype) for value in teacher.average.values()}),
        "teacher_dtypes": sorted({str(value.dtype) for value in teacher.model.parameters()}),
        "teacher_shows_average": all(
            torch.equal(value, teacher.average[name].to(value.dtype))
            for name, value in teacher.model.named_parameters()
        ),
        "student_dtypes": sorted({str(value.dtype) for value in students.values()}),
        "student_moved": max((students[n].float() - before[n]).abs().max().item() for n in before),
        "distance_from_average": drift,
        "teacher_equal_on_ranks": equal_on_ranks({"teacher": teacher.average}),
        "resumed_step": step,
        "losses": losses,
        "losses_after_resuming": repeated,
        "same_teacher": same({"": teacher.average}, {"": other.objective.teacher.average}),
        "same_state": same(states(engine), states(other_engine)),
    }


def overflowing(zero_stage: int, rank: int, ranks: int) -> dict[str, Any]:
    """fp16: two steps, three whose gradient overflows, a save, two steps; and the last two again after a restore."""

    def steps(engine: Any, inputs: list[float]) -> tuple[list[bool], list[float]]:
        applied, losses = [], []
        for step, factor in enumerate(inputs):
            loss = engine(factor * batch_of(step, rank))
            engine.backward(loss)
            applied.append(take_step(engine))
            losses.append(loss.item())
        return applied, losses

    engine = small_engine(zero_stage, "fp16", ranks)
    set_loss_scale_state(engine, SCALING)
    first, _ = steps(engine, [1.0, 1.0])
    before, adam = states(engine), adam_step(engine, iter(engine.module.parameters()))
    # only one rank's gradient overflows, and all must leave the step out
    skipped, _ = steps(engine, [100.0 if rank == 1 else 1.0] * 3)
    after, scaling = states(engine), loss_scale_state(engine)
    again = small_engine(zero_stage, "fp16", ranks)
    restore(again, after, adam_step(engine, iter(engine.module.parameters())))
    set_loss_scale_state(again, json.loads(json.dumps(scaling)))
    last, losses = steps(engine, [1.0, 1.0])
    _, repeated = steps(again, [1.0, 1.0])
    return {
        "applied": [first, skipped, last],
        "scale": scaling["cur_scale"],
        "skipped_steps": scaling["skipped_steps"],
        "skipped_steps_left_the_weights_alone": same(before, after),
        "adam_steps": [adam, adam_step(engine, iter(engine.module.parameters()))],
        "losses": losses,
        "losses_after_restoring": repeated,
        "scaling": loss_scale_state(engine),
        "scaling_after_restoring": loss_scale_state(again),
        "ended_equally": same(states(engine), states(again)),
    }


def diverging(zero_stage: int, rank: int, ranks: int) -> list[str]:
    """What a run says whose gradient overflows at every step, from the lowest scale but one."""
    engine = small_engine(zero_stage, "fp16", ranks)
    set_loss_scale_state(engine, SCALING | {"cur_scale": 2.0, "cur_hysteresis": 1})
    said = []
    for _ in range(2):
        engine.backward(engine(torch.full((ROWS, 8), 1e4)) * 1e4)
        try:
            said.append(str(take_step(engine)))
        except DivergedError as error:
            said.append(str(error))
    return said


def tuned_by_lora(settings: dict[str, Any], rank: int, ranks: int) -> dict[str, Any]:
    """LoRA in bfloat16 under ZeRO 1 with layer-wise decay and an EMA teacher, saved and resumed in the middle."""
    more = {"output": Path(settings["output"]) / "lora", "precision": "bf16", "lora_rank": 2, "layer_decay": 0.5}
    more |= {"learning_rate": 1e-2, "store": Path(settings["store"]), "expansion": 2, "ema_momentum": 0.5}
    config = build(Stage2Config, settings | more | {"gradient_checkpointing": True})
    stage, engine = start_stage(config, ranks)
    set_learning_rate(engine, 1e-2)
    run_stage(stage, engine, range(2), rank, ranks)
    save_training_state(config, engine, stage, 2, 3, rank)
    losses = run_stage(stage, engine, range(2, 4), rank, ranks)
    other, other_engine = start_stage(config, ranks)
    set_learning_rate(other_engine, 1e-2)
    load_training_state(config.run.output, other_engine, other)
    checkpoint = find_checkpoint(config.run.output)
    return {
        "rates": sorted({group["lr"] for group in engine.optimizer.param_groups}),
        "saved": sorted(read_tensors(checkpoint, "model")),
        "described": read_checkpoint_info(checkpoint)["lora"],
        "losses": losses,
        "losses_after_resuming": run_stage(other, other_engine, range(2, 4), rank, ranks),
        "same_state": same(states(engine), states(other_engine)),
        "same_teacher": same({"": stage.objective.teacher.average}, {"": other.objective.teacher.average}),
        "temperatures": [stage.objective.exact_logit_scale().item(), other.objective.exact_logit_scale().item()],
        "temperature_master": states(engine)["logit_scale"]["master"].item(),
        "temperature_rounded": stage.objective.logit_scale.item(),
    }


def locked_tower(settings: dict[str, Any], rank: int, ranks: int) -> dict[str, Any]:
    """The adapter alone is trained, in bfloat16: what its checkpoint holds, and a resume from it."""
    more = {"output": Path(settings["output"]) / "locked", "precision": "bf16", "lock_image": True, "expansion": 2}
    more |= {"learning_rate": 1e-2, "store": Path(settings["store"])}
    config = build(Stage2Config, settings | more)
    stage, engine = start_stage(config, ranks)
    run_stage(stage, engine, range(1), rank, ranks)
    save_training_state(config, engine, stage, 1, 3, rank)
    losses = run_stage(stage, engine, range(1, 3), rank, ranks)
    other, other_engine = start_stage(config, ranks)
    load_training_state(config.run.output, other_engine, other)
    return {
        "saved": sorted(read_tensors(find_checkpoint(config.run.output), "model")),
        "trained": sorted(name for name, p in stage.module.named_parameters() if p.requires_grad),
        "losses": losses,
        "losses_after_resuming": run_stage(other, other_engine, range(1, 3), rank, ranks),
    }


def encoded_images(settings: dict[str, Any]) -> list[list[float]]:
    """Features of 23 images, 12 of them encoded by the first rank."""
    samples = ShardSamples(settings["shards"])
    images = ImageSubset(samples, range(len(samples) - 1))
    return divided_features(load_image_tower(settings["clip"]), images, torch.device("cpu")).tolist()


def start_stage(config: Stage2Config, ranks: int) -> tuple[Stage2, Any]:
    torch.manual_seed(config.run.seed)
    stage = Stage2(config)
    engine = make_engine(stage.module, config.run, ranks, stage.lr_scale)
    stage.to(torch.device("cpu"))
    return stage, engine


def main(settings_file: str, results_file: str) -> None:
    rank, ranks, _ = start_ranks(1)
    settings = json.loads(Path(settings_file).read_text())
    results: dict[str, Any] = {"ranks": ranks}
    for zero_stage, precision in CONFIGURATIONS:
        results[f"{zero_stage}-{precision}"] = master_weights(zero_stage, precision, rank, ranks)
    for precision in ("fp32", "bf16"):
        results[f"2-on-0-{precision}"] = zero_2_on_zero_0(precision, rank, ranks)
    for zero_stage, precision in ((0, "fp32"), (1, "bf16"), (2, "bf16")):
        results[f"stage2-{zero_stage}-{precision}"] = self_distillation(settings, zero_stage, precision, rank, ranks)
    for zero_stage in (0, 1, 2):
        results[f"accumulated-{zero_stage}"] = accumulated(zero_stage, rank, ranks)
    if get_accelerator().is_fp16_supported():
        results["stage2-1-fp16"] = self_distillation(settings, 1, "fp16", rank, ranks)
        for zero_stage in (1, 2):
            results[f"fp16-{zero_stage}"] = overflowing(zero_stage, rank, ranks)
            results[f"diverging-{zero_stage}"] = diverging(zero_stage, rank, ranks)
    results["lora"] = tuned_by_lora(settings, rank, ranks)
    results["features"] = encoded_images(settings)
    results["locked"] = locked_tower(settings, rank, ranks)
    if rank == 0:
        Path(results_file).write_text(json.dumps(results))
    stop_ranks()
    leave(0)


if __name__ == "__main__":
    main(*[argument for argument in sys.argv[1:] if not argument.startswith("--local_rank")])

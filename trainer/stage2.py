"""Stage 2, contrastive tuning with self-distillation: adapter and image tower learn from image-caption pairs.

Legend: B batch, C/H/W image, D embedder width, E joint width.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from store.errors import CheckpointError
from trainer.adapter import Adapter
from trainer.config import require
from trainer.join import Join
from trainer.master_weights import clamp_master
from trainer.objectives import (
    INITIAL_LOGIT_SCALE,
    MAX_LOGIT_SCALE,
    Scaling,
    alignment,
    bounded_logit_scale,
    contrastive,
    instance_alignment,
    structure_alignment,
)
from trainer.order import describe
from trainer.pairs import PairConfig, PairData
from trainer.run_folder import find_checkpoint, read_checkpoint_info, read_tensors
from trainer.stage import Stage
from trainer.towers import ImageTower, Tower, load_image_tower


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage2Config(PairConfig):
    """Stage 2: tune adapter and image tower contrastively on image shards joined with the store by sample key.

    ProCLIP starts from stage 1 (--stage1 RUN). LLM2CLIP is this stage alone: no --stage1, --distill-weight 0.

    Example:
        deepspeed --num_gpus 8 --module trainer stage2 --output runs/stage2 --stage1 runs/stage1
            --clip openai/clip-vit-large-patch14 --shards '/data/cc3m/{00000..00331}.tar' --store cc3m.store
            --fields llama/shortSV_captions llama/longSV_captions
    """

    clip: str
    """The CLIP whose image tower is tuned: a folder or hub id that transformers loads."""
    stage1: Path | None = None
    """Run or checkpoint of stage 1 whose adapter this stage starts from; by default a fresh adapter."""
    distill_weight: float = 1.0
    """Weight w of the self-distillation; 0 leaves it out."""
    structure: bool = True
    """Whether self-distillation aligns pairwise distances too."""
    scaling: Scaling = "invariant"
    """invariant: w means the same at every batch size; 512 times the w of sums at 512 a rank. reference: sums."""
    teacher: Literal["ema", "fixed"] = "ema"
    """The self-distillation's teacher: a moving average of the image tower, or the tower as it was."""
    ema_momentum: float = 0.9996
    """Share of itself that the moving average keeps at every step, in [0, 1]. Not published; DeGLA's value."""
    lock_image: bool = False
    """Keep the image tower as it is and train the adapter only (LiT)."""
    num_blocks: int = 1
    """Residual blocks of a fresh adapter (ProCLIP 1, LLM2CLIP 4)."""
    expansion: int = 8
    """Expansion of each block of a fresh adapter (ProCLIP 8, LLM2CLIP 2)."""

    def __post_init__(self) -> None:
        PairConfig.__post_init__(self)
        require(self.distill_weight >= 0, "distill_weight", self.distill_weight, "at least 0")
        require(0 <= self.ema_momentum <= 1, "ema_momentum", self.ema_momentum, "between 0 and 1")
        require(self.num_blocks >= 0, "num_blocks", self.num_blocks, "at least 0")
        require(self.expansion >= 1, "expansion", self.expansion, "at least 1")


class ContrastiveObjective(nn.Module):
    """``L_info + w (L_ins + L_struct)`` against the image tower's own past (ProCLIP, stage 2)."""

    def __init__(self, config: Stage2Config, adapter: Adapter, tower: Tower) -> None:
        super().__init__()
        self.adapter, self.image, self.transform = adapter, tower.model, tower.transform
        self.logit_scale = nn.Parameter(torch.full((1,), INITIAL_LOGIT_SCALE))
        self.weight, self.structure, self.scaling = config.distill_weight, config.structure, config.scaling
        # outside the module tree: DeepSpeed would turn it into half precision and average it over ranks
        self.teacher: list[ImageTower] = []
        if config.distill_weight and not config.lock_image:
            self.teacher.append(copy.deepcopy(tower.model).requires_grad_(False).eval())
        if config.lock_image:
            tower.model.requires_grad_(False)

    def forward(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        image_BCHW = self.transform.normalize(batch["image"])
        image_BE = self.image.normalized(image_BCHW)
        text_BE = F.normalize(self.adapter(batch["caption"]).float(), dim=-1)
        info = contrastive(image_BE, text_BE, self.logit_scale)
        temperature = 1 / bounded_logit_scale(self.logit_scale.detach())
        report = {"loss/contrastive": info, "temperature": temperature}
        loss = info
        if self.teacher:
            distill = self._distill(image_BE, image_BCHW, report)
            loss = info + self.weight * distill
        return loss, {"loss": loss, **report}

    def _distill(
        self, image_BE: torch.Tensor, image_BCHW: torch.Tensor, report: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        teacher_BE = self._teacher_features(image_BCHW)
        instance = instance_alignment(image_BE, teacher_BE)
        structure = structure_alignment(image_BE, teacher_BE) if self.structure else instance.new_zeros(())
        report |= {"loss/distill_instance": instance, "loss/distill_structure": structure}
        return alignment(instance, structure, image_BE.shape[0], self.scaling)

    @torch.no_grad()
    def _teacher_features(self, image_BCHW: torch.Tensor) -> torch.Tensor:
        """In the student's precision, step for step, so that equal weights give equal features: (B, E) float32."""
        teacher = self.teacher[0]
        weights = {name: value.to(self.image.dtype) for name, value in teacher.named_parameters()}
        return F.normalize(torch.func.functional_call(teacher, weights, (image_BCHW,)).float(), dim=-1)


class Stage2(Stage):
    """Image tower and adapter on joined pairs, with the EMA or fixed teacher beside them."""

    name = "stage2"

    def __init__(self, config: Stage2Config) -> None:
        tower = load_image_tower(config.clip)
        data = PairData(config, tower)
        adapter, shape = _start_adapter(config, data.join, tower.dim)
        self.config, self.data = config, data
        self.module = self.objective = ContrastiveObjective(config, adapter, tower)
        self.info = {
            "adapter": shape,
            "embedder": data.join.made_by,
            "clip": config.clip,
            "datasets": describe(data.sources),
        }

    def to(self, device: torch.device) -> None:
        for teacher in self.objective.teacher:
            teacher.to(device)

    @torch.no_grad()
    def after_step(self, engine: Any) -> None:
        clamp_master(engine, self.objective.logit_scale, 0.0, MAX_LOGIT_SCALE)
        if self.config.teacher == "ema":
            for teacher in self.objective.teacher:
                update_ema(teacher, self.objective.image, self.config.ema_momentum)

    def extra_files(self) -> dict[str, dict[str, torch.Tensor]]:
        return {"teacher": self.objective.teacher[0].state_dict()} if self.objective.teacher else {}

    def load_extra_files(self, read: Callable[[str], dict[str, torch.Tensor]]) -> None:
        for teacher in self.objective.teacher:
            teacher.load_state_dict(read("teacher"))


@torch.no_grad()
def update_ema(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """``teacher = momentum * teacher + (1 - momentum) * student`` in float32.

    The teacher stays float32 whatever the student's precision: at momentum 0.9996 a bfloat16 average would lose every
    update to rounding.
    """
    for average, value in zip(teacher.parameters(), student.parameters(), strict=True):
        average.lerp_(value.to(average.dtype), 1 - momentum)


def _start_adapter(config: Stage2Config, join: Join, dim_out: int) -> tuple[Adapter, dict[str, int]]:
    """A fresh adapter, or stage 1's.

    Raises:
        CheckpointError: not of stage 1, or for vectors or a joint space of another width.
        ConfigError: trained on vectors of another model.
    """
    dim_in = join.dim
    if config.stage1 is None:
        shape = {
            "dim_in": dim_in,
            "dim_out": dim_out,
            "num_blocks": config.num_blocks,
            "expansion": config.expansion,
        }
        return Adapter(**shape), shape
    checkpoint = find_checkpoint(config.stage1)
    info = read_checkpoint_info(checkpoint)
    if info["stage"] != "stage1":
        raise CheckpointError(f"{str(checkpoint)!r} is a checkpoint of {info['stage']}; --stage1 takes one of stage1")
    shape = info["adapter"]
    if (shape["dim_in"], shape["dim_out"]) != (dim_in, dim_out):
        raise CheckpointError(
            f"the adapter of {str(checkpoint)!r} maps {shape['dim_in']} to {shape['dim_out']} dimensions; fields "
            f"{', '.join(join.fields)} and CLIP {config.clip!r} need {dim_in} to {dim_out}"
        )
    join.require_made_by(info["embedder"], f"the adapter of {str(checkpoint)!r}")
    adapter = Adapter(**shape)
    weights = read_tensors(checkpoint, "model")
    adapter.load_state_dict({name.removeprefix("adapter."): tensor for name, tensor in weights.items()})
    return adapter, shape

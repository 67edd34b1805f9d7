"""Stage 2, contrastive tuning with self-distillation: adapter and image tower learn from image-caption pairs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch

from store.common.errors import CheckpointError, ConfigError
from store.common.settings import Prefix
from trainer.checkpoint.folder import entry, find_checkpoint, read_checkpoint_info, read_tensors
from trainer.data.join import Join
from trainer.data.order import describe
from trainer.data.pairs import PairConfig, PairData
from trainer.data.streaming import PairStream, is_streamed
from trainer.evaluation.validation import make_validation
from trainer.model.adapter import Adapter, AdapterConfig, restored_adapter
from trainer.model.identity import require_teacher, revision_of
from trainer.model.layers import layer_scale
from trainer.model.lora import Lora, add_lora
from trainer.model.teacher import Teacher
from trainer.model.towers import load_image_tower
from trainer.objectives.contrastive import ContrastiveObjective, DistillConfig
from trainer.run.stage import PRECISIONS, Stage
from trainer.settings.config import EvalConfig, RunConfig, require


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage2Config:
    """Stage 2: tune adapter and image tower contrastively on image shards joined with the store by sample key.

    ProCLIP starts from stage 1 (--stage1 RUN); with --lambda-reg 0 that is contrastive tuning after stage 1.
    LLM2CLIP is this stage alone, with an adapter of the same shape: no --stage1, --lambda-reg 0.
    LiT is --lock-image. --lora-rank 16 trains small matrices added to the image tower's layers.

    Example:
        deepspeed --num_gpus 8 --module trainer stage2 --output runs/stage2 --stage1 runs/stage1
            --clip openai/clip-vit-large-patch14 --shards '/data/cc3m/{00000..00331}.tar' --store cc3m.store
            --fields llama/shortSV_captions llama/longSV_captions
    """

    REMOVED: ClassVar[dict[str, str]] = {
        "distill_weight": "give lambda_reg, the paper's weight: distill_weight / 512 with invariant scaling, the same "
        "number with reference scaling"
    }
    """Settings of earlier versions, and the settings that replace them."""

    run: RunConfig
    arm: str | None = None
    """Name of the arm of a comparison that this run is; checkpoints keep it."""
    eval: Annotated[EvalConfig, Prefix("eval_")] = field(default_factory=EvalConfig)
    data: PairConfig
    clip: str
    """The CLIP, SigLIP or SigLIP2 whose image tower is tuned: a folder or hub id that transformers loads, or one of
    open_clip's, as open_clip:EVA02-L-14-336:merged2b_s6b_b61k or hf-hub:OWNER/NAME."""
    stage1: Path | None = None
    """Run or checkpoint of stage 1 whose adapter this stage starts from; by default a fresh adapter."""
    check_clip: bool = True
    """Refuse a CLIP whose weights differ from the weights of stage 1's teacher."""
    distill: DistillConfig = field(default_factory=DistillConfig)
    lock_image: bool = False
    """Keep the image tower as it is and train the adapter only (LiT)."""
    lora: Annotated[Lora, Prefix("lora_")] = field(default_factory=Lora)
    layer_decay: float = 1.0
    """Each block of the image tower learns at this share of the rate of the next one, in (0, 1]; EVA-CLIP 0.85."""
    gradient_checkpointing: bool = False
    """Compute the image tower's layers anew in the backward pass: less memory, about a third more time."""
    adapter: AdapterConfig = field(default_factory=AdapterConfig)

    def __post_init__(self) -> None:
        require(0 < self.layer_decay <= 1, "layer_decay", self.layer_decay, "above 0 and at most 1")
        if self.lock_image and (self.lora.rank or self.layer_decay < 1):
            raise ConfigError("lock_image trains nothing of the image tower; leave out lora_rank and layer_decay")

    def arm_by_settings(self) -> str:
        """The arm of the paper's comparison that these settings make, by the names of ``keyclip compare``."""
        if self.lock_image:
            return "lit"
        if not self.distill.lambda_reg:
            return "llm2clip" if self.stage1 is None else "no-distillation"
        if self.stage1 is None:
            return "no-stage1"
        if self.distill.teacher == "fixed":
            return "fixed"
        return "proclip" if self.distill.structure else "no-structure"


class Stage2(Stage):
    """Image tower and adapter on joined pairs, with the EMA or fixed teacher."""

    name = "stage2"

    def __init__(self, config: Stage2Config) -> None:
        tower = load_image_tower(config.clip)
        self.data: PairData | PairStream
        if is_streamed(config.data):
            self.data = PairStream(config.data, tower)
        else:
            self.data = PairData(config.data, tower, config.run.seed)
        adapter = _start_adapter(config, self.data.join, tower.dim)
        self.locked = config.lock_image
        if (validation := make_validation(config.eval, self.data.join.made_by)) is not None:
            self.evaluated = validation, tower, adapter
        teacher, distill = None, config.distill
        if distill.lambda_reg and not config.lock_image:  # a locked tower cannot move away from its teacher
            momentum = distill.ema_momentum if distill.teacher == "ema" else None
            teacher = Teacher(tower.model, PRECISIONS[config.run.precision], momentum)
        self.lora = config.lora if config.lora.rank else None
        if self.lora is not None:
            add_lora(tower.model, self.lora)
        if config.lock_image:
            tower.model.requires_grad_(False)
        elif config.gradient_checkpointing:
            tower.model.checkpoint_gradients()
        self._image_scale = layer_scale(tower.model, config.layer_decay)
        self.module = self.objective = ContrastiveObjective(distill, adapter, tower, teacher)
        self._averages = teacher is not None and distill.teacher == "ema"
        self.info = {
            "arm": config.arm or config.arm_by_settings(),
            "adapter": adapter.shape,
            "embedder": self.data.join.made_by,
            "clip": config.clip,
            "clip_revision": revision_of(config.clip),
            "lora": self.lora.to_dict() if self.lora is not None else None,
            "datasets": describe(self.data.sources),
        }

    def to(self, device: torch.device) -> None:
        if self.objective.teacher is not None:
            self.objective.teacher.to(device)

    def lr_scale(self, name: str) -> float:
        part, _, rest = name.partition(".")
        return self._image_scale(rest) if part == "image" else 1.0

    @torch.no_grad()
    def after_step(self, engine: Any) -> None:
        self.objective.hold_logit_scale(engine)
        if self.objective.teacher is not None:
            self.objective.teacher.follow(self.objective.image, self.lora)

    def after_load(self, engine: Any) -> None:
        self.objective.hold_logit_scale(engine)

    def extra_files(self) -> dict[str, dict[str, torch.Tensor]]:
        teacher = self.objective.teacher
        return {"teacher": teacher.state()} if teacher is not None and self._averages else {}

    def load_extra_files(self, read: Callable[[str], dict[str, torch.Tensor]]) -> None:
        if self.objective.teacher is not None and self._averages:
            self.objective.teacher.load_state(read("teacher"))


def _start_adapter(config: Stage2Config, join: Join, dim_out: int) -> Adapter:
    """A fresh adapter, or stage 1's.

    Raises:
        CheckpointError: not of stage 1, or for vectors or a joint space of another width.
        ConfigError: trained on vectors of another model, or for the text space of another CLIP.
    """
    if config.stage1 is None:
        return Adapter(join.dim, dim_out, config.adapter.num_blocks, config.adapter.expansion)
    checkpoint = find_checkpoint(config.stage1)
    info, what = read_checkpoint_info(checkpoint), f"the adapter of {str(checkpoint)!r}"
    if (stage := entry(info, "stage", checkpoint)) != "stage1":
        raise CheckpointError(f"{str(checkpoint)!r} is a checkpoint of {stage}; --stage1 takes one of stage1")
    shape = entry(info, "adapter", checkpoint)
    if (shape["dim_in"], shape["dim_out"]) != (join.dim, dim_out):
        raise CheckpointError(
            f"{what} maps {shape['dim_in']} to {shape['dim_out']} dimensions; fields {', '.join(join.fields)} and CLIP "
            f"{config.clip!r} need {join.dim} to {dim_out}"
        )
    join.require_made_by(entry(info, "embedder", checkpoint), what)
    if config.check_clip:
        require_teacher(config.clip, info.get("teacher"), what)
    weights = {name.removeprefix("adapter."): tensor for name, tensor in read_tensors(checkpoint, "model").items()}
    return restored_adapter(shape, weights, f"checkpoint {str(checkpoint)!r}").train().requires_grad_(True)

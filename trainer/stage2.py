"""Stage 2, contrastive tuning with self-distillation: adapter and image tower learn from image-caption pairs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from store.common.errors import CheckpointError, ConfigError
from store.common.settings import Layers, Rounds
from trainer.checkpoint.folder import entry, find_checkpoint, read_checkpoint_info, read_tensors
from trainer.data.join import Join
from trainer.data.order import describe
from trainer.data.pairs import PairConfig, PairData
from trainer.data.streaming import PairStream, is_streamed
from trainer.evaluation.validation import make_validation
from trainer.model.adapter import Adapter, restored_adapter
from trainer.model.identity import require_teacher, revision_of
from trainer.model.layers import layer_scale
from trainer.model.lora import Lora, add_lora
from trainer.model.teacher import Teacher
from trainer.model.tower_base import ImageTower
from trainer.model.towers import load_image_tower
from trainer.objectives.contrastive import ContrastiveObjective
from trainer.objectives.losses import Scaling
from trainer.run.stage import PRECISIONS, Stage
from trainer.settings.config import require


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage2Config(PairConfig):
    """Stage 2: tune adapter and image tower contrastively on image shards joined with the store by sample key.

    ProCLIP starts from stage 1 (--stage1 RUN); with --lambda-reg 0 that is contrastive tuning after stage 1.
    LLM2CLIP is this stage alone, with an adapter of the same shape: no --stage1, --lambda-reg 0.
    LiT is --lock-image. --lora-rank 16 trains small matrices beside the image tower's layers.

    Example:
        deepspeed --num_gpus 8 --module trainer stage2 --output runs/stage2 --stage1 runs/stage1
            --clip openai/clip-vit-large-patch14 --shards '/data/cc3m/{00000..00331}.tar' --store cc3m.store
            --fields llama/shortSV_captions llama/longSV_captions
    """

    REMOVED: ClassVar[dict[str, str]] = {
        "distill_weight": "give lambda_reg, the paper's weight: distill_weight / 512 with invariant scaling, the same "
        "number with reference scaling"
    }
    """Settings of earlier versions, with what takes their place."""

    clip: str
    """The CLIP, SigLIP or SigLIP2 whose image tower is tuned: a folder or hub id that transformers loads, or one of
    open_clip's, as open_clip:EVA02-L-14-336:merged2b_s6b_b61k or hf-hub:OWNER/NAME."""
    stage1: Path | None = None
    """Run or checkpoint of stage 1 whose adapter this stage starts from; by default a fresh adapter."""
    check_clip: bool = True
    """Refuse a CLIP whose weights are not those of stage 1's teacher."""
    lambda_reg: float = 4e-4
    """Weight of the self-distillation as published, a factor on sums over 512 samples a rank; 0 leaves it out."""
    structure: bool = True
    """Whether self-distillation aligns pairwise distances too."""
    scaling: Scaling = "invariant"
    """invariant: lambda_reg keeps its published meaning at every batch size and number of ranks (512 lambda_reg times
    the means, structure weighed as at 512 samples a rank). reference: lambda_reg times this rank's sums."""
    teacher: Literal["ema", "fixed"] = "ema"
    """The self-distillation's teacher: a moving average of the image tower, or the tower as it was."""
    ema_momentum: float = 0.999
    """Share of itself that the moving average keeps at every step, in [0, 1]; the paper's alpha."""
    lock_image: bool = False
    """Keep the image tower as it is and train the adapter only (LiT)."""
    lora_rank: Rounds = 0
    """Train the image tower by LoRA of this rank, its own weights staying as they are; 0 trains all of them."""
    lora_alpha: float | None = None
    """LoRA's matrices add alpha / rank times their product; by default the rank, > 0."""
    lora_targets: tuple[str, ...] | None = None
    """Linear layers that LoRA is put on, such as q_proj v_proj; by default all in the tower's blocks."""
    layer_decay: float = 1.0
    """Each block of the image tower learns at this share of the rate of the next one, in (0, 1]; EVA-CLIP 0.85."""
    gradient_checkpointing: bool = False
    """Compute the image tower's layers anew in the backward pass: less memory, about a third more time."""
    num_blocks: Layers = 4
    """Residual blocks of a fresh adapter; the paper has 4 for both methods, and 12 in table 14."""
    expansion: Layers = 2
    """Expansion of each block of a fresh adapter; 2 as LLM2CLIP released it."""

    def __post_init__(self) -> None:
        PairConfig.__post_init__(self)
        require(self.lambda_reg >= 0, "lambda_reg", self.lambda_reg, "at least 0")
        require(0 <= self.ema_momentum <= 1, "ema_momentum", self.ema_momentum, "between 0 and 1")
        require(self.num_blocks >= 0, "num_blocks", self.num_blocks, "at least 0")
        require(self.expansion >= 1, "expansion", self.expansion, "at least 1")
        require(self.lora_rank >= 0, "lora_rank", self.lora_rank, "at least 0")
        require(self.lora_alpha is None or self.lora_alpha > 0, "lora_alpha", self.lora_alpha, "above 0")
        require(0 < self.layer_decay <= 1, "layer_decay", self.layer_decay, "above 0 and at most 1")
        if self.lock_image and (self.lora_rank or self.layer_decay < 1):
            raise ConfigError("lock_image trains nothing of the image tower; leave out lora_rank and layer_decay")
        if not self.lora_rank and (self.lora_alpha is not None or self.lora_targets is not None):
            raise ConfigError("lora_alpha and lora_targets say how LoRA is done; give lora_rank too")

    def arm_by_settings(self) -> str:
        """The arm of the paper's comparison that these settings make, by the names of ``keyclip compare``."""
        if self.lock_image:
            return "lit"
        if not self.lambda_reg:
            return "llm2clip" if self.stage1 is None else "no-distillation"
        if self.stage1 is None:
            return "no-stage1"
        if self.teacher == "fixed":
            return "fixed"
        return "proclip" if self.structure else "no-structure"

    def lora(self) -> Lora | None:
        """How LoRA is put on the image tower; None trains the weights themselves."""
        if not self.lora_rank:
            return None
        alpha = float(self.lora_rank) if self.lora_alpha is None else self.lora_alpha
        return Lora(rank=self.lora_rank, alpha=alpha, targets=self.lora_targets)


class Stage2(Stage):
    """Image tower and adapter on joined pairs, with the EMA or fixed teacher beside them."""

    name = "stage2"

    def __init__(self, config: Stage2Config) -> None:
        tower = load_image_tower(config.clip)
        data = PairStream(config, tower) if is_streamed(config) else PairData(config, tower)
        adapter, shape = _start_adapter(config, data.join, tower.dim)
        self.config, self.data, self.tower = config, data, tower
        self.validation = make_validation(config, data.join.made_by)
        teacher = _make_teacher(config, tower.model)
        self.lora = config.lora()
        if self.lora is not None:
            add_lora(tower.model, self.lora)
        if config.lock_image:
            tower.model.requires_grad_(False)
        elif config.gradient_checkpointing:
            tower.model.checkpoint_gradients()
        self._image_scale = layer_scale(tower.model, config.layer_decay)
        self.module = self.objective = ContrastiveObjective(config, adapter, tower, teacher)
        self.info = {
            "arm": config.arm or config.arm_by_settings(),
            "adapter": shape,
            "embedder": data.join.made_by,
            "clip": config.clip,
            "clip_revision": revision_of(config.clip),
            "lora": self.lora.to_dict() if self.lora is not None else None,
            "datasets": describe(data.sources),
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

    def evaluate(self, step: int, last: bool, device: torch.device) -> dict[str, float]:
        if self.validation is None or not self.validation.is_due(step, last):
            return {}
        return self.validation.measure(self.tower, self.objective.adapter, device, locked=self.config.lock_image)

    def extra_files(self) -> dict[str, dict[str, torch.Tensor]]:
        teacher = self.objective.teacher
        return {"teacher": teacher.state()} if teacher is not None and self.config.teacher == "ema" else {}

    def load_extra_files(self, read: Callable[[str], dict[str, torch.Tensor]]) -> None:
        if self.objective.teacher is not None and self.config.teacher == "ema":
            self.objective.teacher.load_state(read("teacher"))


def _make_teacher(config: Stage2Config, tower: ImageTower) -> Teacher | None:
    """A teacher that starts equal to the tower, unless nothing is distilled or the tower cannot move away from it."""
    if not config.lambda_reg or config.lock_image:
        return None
    return Teacher(tower, PRECISIONS[config.precision], config.ema_momentum if config.teacher == "ema" else None)


def _start_adapter(config: Stage2Config, join: Join, dim_out: int) -> tuple[Adapter, dict[str, int]]:
    """A fresh adapter, or stage 1's.

    Raises:
        CheckpointError: not of stage 1, or for vectors or a joint space of another width.
        ConfigError: trained on vectors of another model, or for the text space of another CLIP.
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
    if (stage := entry(info, "stage", checkpoint)) != "stage1":
        raise CheckpointError(f"{str(checkpoint)!r} is a checkpoint of {stage}; --stage1 takes one of stage1")
    shape = entry(info, "adapter", checkpoint)
    if (shape["dim_in"], shape["dim_out"]) != (dim_in, dim_out):
        raise CheckpointError(
            f"the adapter of {str(checkpoint)!r} maps {shape['dim_in']} to {shape['dim_out']} dimensions; fields "
            f"{', '.join(join.fields)} and CLIP {config.clip!r} need {dim_in} to {dim_out}"
        )
    join.require_made_by(entry(info, "embedder", checkpoint), f"the adapter of {str(checkpoint)!r}")
    if config.check_clip:
        require_teacher(config.clip, info.get("teacher"), f"the adapter of {str(checkpoint)!r}")
    weights = read_tensors(checkpoint, "model")
    named = {name.removeprefix("adapter."): tensor for name, tensor in weights.items()}
    adapter = restored_adapter(shape, named, f"checkpoint {str(checkpoint)!r}").train().requires_grad_(True)
    return adapter, shape

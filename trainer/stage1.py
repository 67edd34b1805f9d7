"""Stage 1, representation inheritance: the adapter learns CLIP's text space from two fields of the store."""

from dataclasses import dataclass, field
from typing import Annotated

import torch

from store.common.errors import ConfigError
from store.common.settings import Prefix
from trainer.data.order import describe
from trainer.data.texts import CaptionData, TextConfig, VectorData
from trainer.evaluation.validation import make_validation
from trainer.model.adapter import Adapter, AdapterConfig
from trainer.model.identity import require_teacher
from trainer.model.text_teacher import TextTeacher
from trainer.model.towers import load_image_tower
from trainer.objectives.inheritance import InheritanceObjective
from trainer.objectives.losses import Scaling
from trainer.run.stage import PRECISIONS, Stage
from trainer.settings.config import EvalConfig, RunConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage1Config:
    """Stage 1: distil CLIP's text space into the adapter, from the store alone (no images, no text encoder).

    With --teacher online, CLIP's text tower runs on the shards' captions at every step instead: the same loss, slower.

    Example:
        deepspeed --num_gpus 8 --module trainer stage1 --output runs/stage1 --store cc3m.store
            --fields llama/shortSV_captions llama/raw_caption --teacher-fields clip/shortSV_captions clip/raw_caption
    Example:
        deepspeed --num_gpus 8 --module trainer stage1 --output runs/stage1 --store cc3m.store
            --fields llama/shortSV_captions --teacher online --clip openai/clip-vit-large-patch14
            --shards 'cc3m/{00000..00331}.tar'
    """

    run: RunConfig
    arm: str | None = None
    """Name of the arm of a comparison that this run is; checkpoints keep it."""
    eval: Annotated[EvalConfig, Prefix("eval_")] = field(default_factory=EvalConfig)
    data: TextConfig
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    structure: bool = True
    """Whether pairwise distances are aligned too."""
    scaling: Scaling = "invariant"
    """invariant: the terms weigh as in the paper (128 samples a rank) at every batch size and number of ranks.
    reference: sums over samples and pairs of a rank, as published."""

    def __post_init__(self) -> None:
        if self.eval.every is not None and self.data.clip is None:
            raise ConfigError("evaluation in stage 1 needs the CLIP whose image tower fits the adapter; give --clip")


class Stage1(Stage):
    """The adapter against CLIP's own text features."""

    name, locked = "stage1", True

    def __init__(self, config: Stage1Config) -> None:
        clip, self.teacher = config.data.clip, None
        self.data: VectorData | CaptionData
        if config.data.teacher == "online":
            assert clip is not None
            self.teacher = TextTeacher(clip, PRECISIONS[config.run.precision])
            self.data = CaptionData(config.data, self.teacher)
        else:
            self.data = VectorData(config.data)
        teachers = self.data.teachers
        shape = config.adapter
        self.adapter = Adapter(self.data.join.dim, teachers.dim, shape.num_blocks, shape.expansion)
        self.module = InheritanceObjective(self.adapter, config.structure, config.scaling, self.teacher)
        validation = make_validation(config.eval, self.data.join.made_by)
        if validation is not None and clip is not None:
            require_teacher(clip, teachers.made_by, "the adapter of this run", "give that one")
            self.evaluated = validation, load_image_tower(clip), self.adapter
        self.info = {
            "arm": config.arm or "stage1",
            "adapter": self.adapter.shape,
            "embedder": self.data.join.made_by,
            "teacher": teachers.made_by,
            "datasets": describe(self.data.sources),
        }

    def to(self, device: torch.device) -> None:
        if self.teacher is not None:
            self.teacher.model.to(device)

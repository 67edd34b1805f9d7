"""Stage 1, representation inheritance: the adapter learns CLIP's text space from two fields of the store.

Legend: V caption views, B batch, D embedder width, E joint width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import store
from store.common.errors import ConfigError, StaleCaptionError
from store.common.settings import Layers
from store.sources.keylist import read_key_list
from trainer.data.datasets import DataConfig, Dataset, require_one_model
from trainer.data.join import Join, Missing, keys_in_parts
from trainer.data.loader import NO_VECTOR
from trainer.data.online import CaptionData, TextTeacher
from trainer.data.order import Source, describe
from trainer.data.shared_batches import batch_dtype, empty_batch
from trainer.evaluation.validation import make_validation
from trainer.model.adapter import Adapter
from trainer.model.identity import require_teacher
from trainer.model.towers import load_image_tower
from trainer.objectives.losses import STAGE1_SAMPLES, Scaling, alignment, instance_alignment, structure_alignment
from trainer.run.stage import PRECISIONS, Stage
from trainer.settings.config import require

KEYS_READ_TOGETHER = 8192


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage1Config(DataConfig):
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

    teacher: Literal["stored", "online"] = "stored"
    """Where CLIP's text features come from: teacher_fields of the store, or its text tower (clip) at every step."""
    clip: str | None = None
    """The CLIP of an online teacher, and whose image tower evaluates the adapter (--eval-sets): a folder or hub id."""
    shards: tuple[str, ...] = ()
    """Shards with the captions of an online teacher: paths, globs, brace ranges or @FILE lists."""

    teacher_fields: tuple[str, ...] = ()
    """Fields of CLIP's own text features of the same captions, in the same order."""
    num_blocks: Layers = 4
    """Residual blocks of the adapter; the paper has 4 for both methods, and 12 in table 14."""
    expansion: Layers = 2
    """Expansion of each block; 2 as LLM2CLIP released it, on which the paper builds."""
    structure: bool = True
    """Whether pairwise distances are aligned too."""
    scaling: Scaling = "invariant"
    """invariant: the terms weigh as in the paper (128 samples a rank) at every batch size and number of ranks.
    reference: sums over samples and pairs of a rank, as published."""

    def __post_init__(self) -> None:
        DataConfig.__post_init__(self)
        require(self.num_blocks >= 0, "num_blocks", self.num_blocks, "at least 0")
        require(self.expansion >= 1, "expansion", self.expansion, "at least 1")
        if self.eval_every is not None and self.clip is None:
            raise ConfigError(
                "evaluation in stage 1 needs the CLIP whose image tower is beside the adapter; give --clip"
            )
        if self.teacher == "online":
            self._check_online()
            return
        for dataset in self.data:
            views = len(self.data[0].fields)
            if not len(dataset.fields) == len(dataset.teacher_fields) == views:
                raise ConfigError(
                    f"dataset {dataset.name!r} names {len(dataset.fields)} fields and {len(dataset.teacher_fields)} "
                    f"teacher_fields; expected {views} of each: a teacher for each field, as many in all datasets"
                )

    def _check_online(self) -> None:
        if self.clip is None:
            raise ConfigError("--teacher online needs a CLIP whose text tower is the teacher; give --clip")
        for dataset in self.data:
            if dataset.teacher_fields or not dataset.shards or len(dataset.fields) != len(self.data[0].fields):
                raise ConfigError(
                    f"dataset {dataset.name!r} does not fit --teacher online, which takes captions from shards and no "
                    "teacher_fields, and as many fields in all datasets"
                )


class InheritanceObjective(nn.Module):
    """``L_ins`` over all views plus ``L_struct`` on the first (ProCLIP, stage 1).

    ``teacher`` makes the features of captions whose batch holds tokens in place of stored features.
    """

    def __init__(self, adapter: Adapter, structure: bool, scaling: Scaling, teacher: TextTeacher | None = None) -> None:
        super().__init__()
        self.adapter, self.structure, self.scaling, self.teacher = adapter, structure, scaling, teacher

    def forward(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        caption_VBD = batch["caption"]
        if self.teacher is None:
            teacher_VBE = batch["teacher"]
        else:
            teacher_VBE = self.teacher.features(batch["tokens"], batch["mask"]).unflatten(0, caption_VBD.shape[:2])
        views, samples = caption_VBD.shape[:2]
        student_VBE = F.normalize(self.adapter(caption_VBD).float(), dim=-1)
        target_VBE = F.normalize(teacher_VBE.float(), dim=-1)
        instance = instance_alignment(student_VBE.flatten(0, 1), target_VBE.flatten(0, 1)) * views
        structure = structure_alignment(student_VBE[0], target_VBE[0]) if self.structure else instance.new_zeros(())
        loss = alignment(instance, structure, samples, self.scaling, STAGE1_SAMPLES)
        cosine = (student_VBE * target_VBE).sum(-1).mean()
        return loss, {"loss": loss, "loss/instance": instance, "loss/structure": structure, "cosine": cosine}


class VectorData:
    """Caption vectors and teacher vectors by sample key, from stores alone; one or several datasets.

    Attributes:
        captions: the first dataset's join; the vectors of all are of one model.
        teachers: likewise, of the teacher vectors.
    """

    def __init__(self, config: Stage1Config) -> None:
        self.datasets = [VectorDataset(dataset, config.missing) for dataset in config.data]
        require_one_model({part.name: part.captions for part in self.datasets})
        require_one_model({part.name: part.teachers for part in self.datasets})
        self.captions, self.teachers = self.datasets[0].captions, self.datasets[0].teachers
        self.dtypes = [
            batch_dtype(*(part.captions.dtype for part in self.datasets)),
            batch_dtype(*(part.teachers.dtype for part in self.datasets)),
        ]
        self.starts = np.cumsum([0, *(len(part.keys) for part in self.datasets)])

    @property
    def sources(self) -> Sequence[Source]:
        return [part.source for part in self.datasets]

    def load(self, samples: np.ndarray, epoch: int, places: np.ndarray) -> dict[str, Any]:
        """``caption`` (V, B, D) and ``teacher`` (V, B, E), float16 where the store holds no more, else float32."""
        numbers = np.searchsorted(self.starts, samples, side="right") - 1
        views = len(self.captions.fields)
        caption_VBD = empty_batch(views, len(samples), self.captions.dim, dtype=self.dtypes[0])
        teacher_VBE = empty_batch(views, len(samples), self.teachers.dim, dtype=self.dtypes[1])
        captions, teachers = caption_VBD.numpy(), teacher_VBE.numpy()
        for number in np.unique(numbers):
            part, of_it = self.datasets[number], np.flatnonzero(numbers == number)
            keys = [key.decode() for key in part.keys[samples[of_it] - self.starts[number]]]
            for view in range(views):
                captions[view, of_it] = part.captions.vectors(keys, view, part.captions.dtype)
                teachers[view, of_it] = part.teachers.vectors(keys, view, part.teachers.dtype)
        return {"caption": caption_VBD, "teacher": teacher_VBE}


class VectorDataset:
    """The keys of one dataset that have vectors in all fields.

    Attributes:
        keys: (n,) UTF-8 byte strings.
    """

    def __init__(self, dataset: Dataset, missing: Missing) -> None:
        self.name, self.weight = dataset.name, dataset.weight
        self.captions = Join(dataset.store, dataset.fields)
        self.teachers = Join(dataset.store, dataset.teacher_fields)
        for view, (field, teacher) in enumerate(zip(dataset.fields, dataset.teacher_fields, strict=True)):
            if self.captions.caption_field(view) != self.teachers.caption_field(view):
                raise ConfigError(
                    f"field {field!r} is made from captions {self.captions.caption_field(view)!r}, its "
                    f"teacher {teacher!r} from {self.teachers.caption_field(view)!r}; "
                    "give teacher_fields in the order of fields"
                )
        keys = self.captions.keys() if dataset.keys is None else read_key_list(dataset.keys)
        covered = self.captions.covered(keys, missing) & self.teachers.covered(keys, missing)
        self.keys = keys[covered]
        self.left_out = {NO_VECTOR: int((~covered).sum())}
        self._check_captions()

    def _check_captions(self) -> None:
        """Raises: StaleCaptionError: a vector and its teacher are made from different captions."""
        for view, (field, teacher) in enumerate(zip(self.captions.fields, self.teachers.fields, strict=True)):
            differing, first = 0, ""
            for keys in keys_in_parts(self.keys):
                differ = store.captions_differ(
                    self.captions.caption_hashes(keys, view), self.teachers.caption_hashes(keys, view)
                )
                differing += int(differ.sum())
                first = first or (keys[differ.argmax()] if differ.any() else "")
            if differing:
                raise StaleCaptionError(
                    f"{differing} of {len(self.keys)} keys, first {first!r}, have a vector in {field!r} "
                    f"and a teacher in {teacher!r} of different captions; embed the captions anew with both models"
                )

    @property
    def source(self) -> Source:
        """Keys that stand together in the store are read together."""
        whole, rest = divmod(len(self.keys), KEYS_READ_TOGETHER)
        sizes = [KEYS_READ_TOGETHER] * whole + [rest] * (rest > 0)
        return Source(self.name, sizes, self.weight, self.left_out, keys=self.keys)


class Stage1(Stage):
    """The adapter against CLIP's own text features."""

    name = "stage1"

    def __init__(self, config: Stage1Config) -> None:
        data: VectorData | CaptionData
        self.teacher = None
        if config.teacher == "online":
            assert config.clip is not None
            self.teacher = TextTeacher(config.clip, PRECISIONS[config.precision])
            data = CaptionData(config.data, config.missing, self.teacher)
            teachers: TextTeacher | Join = self.teacher
        else:
            data = VectorData(config)
            teachers = data.teachers
        shape = {
            "dim_in": data.captions.dim,
            "dim_out": teachers.dim,
            "num_blocks": config.num_blocks,
            "expansion": config.expansion,
        }
        self.data = data
        self.adapter = Adapter(**shape)
        self.module = InheritanceObjective(self.adapter, config.structure, config.scaling, self.teacher)
        self.validation = make_validation(config, data.captions.made_by)
        self.tower = None
        if self.validation is not None and config.clip is not None:
            require_teacher(config.clip, teachers.made_by, "the adapter of this run", "give that one")
            self.tower = load_image_tower(config.clip)
        self.info = {
            "arm": config.arm or "stage1",
            "adapter": shape,
            "embedder": data.captions.made_by,
            "teacher": teachers.made_by,
            "datasets": describe(data.sources),
        }

    def evaluate(self, step: int, last: bool, device: torch.device) -> dict[str, float]:
        if self.validation is None or self.tower is None or not self.validation.is_due(step, last):
            return {}
        return self.validation.measure(self.tower, self.adapter, device, locked=True)

    def to(self, device: torch.device) -> None:
        if self.teacher is not None:
            self.teacher.model.to(device)

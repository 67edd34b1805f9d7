"""Stage 1, representation inheritance: the adapter learns CLIP's text space from two fields of the store.

Legend: V caption views, B batch, D embedder width, E joint width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import store
from store.errors import ConfigError, StaleCaptionError
from trainer.adapter import Adapter
from trainer.config import RunConfig, require
from trainer.join import Join, Missing
from trainer.objectives import Scaling, alignment, instance_alignment, structure_alignment
from trainer.samples import read_key_list
from trainer.stage import Stage

KEYS_READ_TOGETHER = 8192


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage1Config(RunConfig):
    """Stage 1: distil CLIP's text space into the adapter, from the store alone (no images, no text encoder).

    Example:
        deepspeed --num_gpus 8 --module trainer stage1 --output runs/stage1 --store cc3m.store
            --fields llama/shortSV_captions llama/raw_caption --teacher-fields clip/shortSV_captions clip/raw_caption
    """

    store: Path
    """The store that holds both kinds of vectors."""
    fields: tuple[str, ...]
    """Fields of caption vectors, one per view; the structure loss applies to the first."""
    teacher_fields: tuple[str, ...]
    """Fields of CLIP's own text features of the same captions, in the same order."""
    keys: Path | None = None
    """Key list, one sample key a line: train on these; by default on every key of the first field."""
    missing: Missing = "error"
    """What to do with a key that lacks a vector in some field: refuse to start, or leave it out and count it."""
    num_blocks: int = 1
    """Residual blocks of the adapter (ProCLIP 1, LLM2CLIP 4)."""
    expansion: int = 8
    """Expansion of each block (ProCLIP 8, LLM2CLIP 2)."""
    structure: bool = True
    """Whether pairwise distances are aligned too."""
    scaling: Scaling = "invariant"
    """invariant: the losses mean the same at every batch size. reference: summed as published."""

    def __post_init__(self) -> None:
        RunConfig.__post_init__(self)
        require(self.num_blocks >= 0, "num_blocks", self.num_blocks, "at least 0")
        require(self.expansion >= 1, "expansion", self.expansion, "at least 1")
        if len(self.fields) != len(self.teacher_fields):
            raise ConfigError(
                f"{len(self.fields)} fields but {len(self.teacher_fields)} teacher_fields; name one teacher for each"
            )


class InheritanceObjective(nn.Module):
    """``L_ins`` over all views plus ``L_struct`` on the first (ProCLIP, stage 1)."""

    def __init__(self, adapter: Adapter, structure: bool, scaling: Scaling) -> None:
        super().__init__()
        self.adapter, self.structure, self.scaling = adapter, structure, scaling

    def forward(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        caption_VBD, teacher_VBE = batch["caption"], batch["teacher"]
        views, samples = caption_VBD.shape[:2]
        student_VBE = F.normalize(self.adapter(caption_VBD).float(), dim=-1)
        target_VBE = F.normalize(teacher_VBE.float(), dim=-1)
        instance = instance_alignment(student_VBE.flatten(0, 1), target_VBE.flatten(0, 1)) * views
        structure = structure_alignment(student_VBE[0], target_VBE[0]) if self.structure else instance.new_zeros(())
        loss = alignment(instance, structure, samples, self.scaling)
        cosine = (student_VBE * target_VBE).sum(-1).mean()
        return loss, {"loss": loss, "loss/instance": instance, "loss/structure": structure, "cosine": cosine}


class VectorData:
    """Caption vectors and teacher vectors by sample key, from the store alone."""

    def __init__(self, config: Stage1Config) -> None:
        self.captions = Join(config.store, config.fields)
        self.teachers = Join(config.store, config.teacher_fields)
        for field, teacher in zip(range(len(config.fields)), range(len(config.fields)), strict=True):
            if self.captions.caption_field(field) != self.teachers.caption_field(teacher):
                raise ConfigError(
                    f"field {config.fields[field]!r} is made from captions {self.captions.caption_field(field)!r}, its "
                    f"teacher {config.teacher_fields[teacher]!r} from {self.teachers.caption_field(teacher)!r}; "
                    "give teacher_fields in the order of fields"
                )
        keys = self.captions.keys() if config.keys is None else [k.decode() for k in read_key_list(config.keys)]
        covered = self.captions.covered(keys, config.missing) & self.teachers.covered(keys, config.missing)
        self.num_missing = int((~covered).sum())
        self._keys = np.array([key.encode() for key in keys], dtype=np.bytes_)[covered]
        self._check_captions()

    def _check_captions(self) -> None:
        """Raises: StaleCaptionError: a vector and its teacher are made from different captions."""
        keys = [key.decode() for key in self._keys]
        for view, (field, teacher) in enumerate(zip(self.captions.fields, self.teachers.fields, strict=True)):
            differ = store.captions_differ(
                self.captions.caption_hashes(keys, view), self.teachers.caption_hashes(keys, view)
            )
            if differ.any():
                raise StaleCaptionError(
                    f"{differ.sum()} of {len(keys)} keys, first {keys[differ.argmax()]!r}, have a vector in {field!r} "
                    f"and a teacher in {teacher!r} of different captions; embed the captions anew with both models"
                )

    @property
    def shard_sizes(self) -> Sequence[int]:
        """Keys that stand together in the store are read together."""
        whole, rest = divmod(len(self._keys), KEYS_READ_TOGETHER)
        return [KEYS_READ_TOGETHER] * whole + [rest] * (rest > 0)

    def load(self, samples: np.ndarray, epoch: int, places: np.ndarray) -> dict[str, Any]:
        """``caption`` (V, B, D) and ``teacher`` (V, B, E), float32."""
        keys = [key.decode() for key in self._keys[samples]]
        views = range(len(self.captions.fields))
        return {
            "caption": torch.from_numpy(np.stack([self.captions.vectors(keys, view) for view in views])),
            "teacher": torch.from_numpy(np.stack([self.teachers.vectors(keys, view) for view in views])),
        }


class Stage1(Stage):
    """The adapter against CLIP's own text features."""

    name = "stage1"

    def __init__(self, config: Stage1Config) -> None:
        data = VectorData(config)
        shape = {
            "dim_in": data.captions.dim,
            "dim_out": data.teachers.dim,
            "num_blocks": config.num_blocks,
            "expansion": config.expansion,
        }
        self.data = data
        self.module = InheritanceObjective(Adapter(**shape), config.structure, config.scaling)
        self.info = {
            "adapter": shape,
            "embedder": data.captions.made_by,
            "fields": list(config.fields),
            "num_missing": data.num_missing,
        }

"""Stage 1's samples: caption vectors with CLIP's text features of the same captions, or with the captions' tokens.

Legend: V caption views, B batch, T tokens, D embedder width, E joint width.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import store
from store.common.errors import ConfigError, StaleCaptionError
from store.sources.keylist import read_key_list
from trainer.data.datasets import DataConfig, Dataset, Part, Several, joined_samples, require_one_model
from trainer.data.join import Join, Missing, keys_in_parts
from trainer.data.order import Source
from trainer.data.samples import NO_VECTOR
from trainer.data.shared_batches import batch_dtype, empty_batch
from trainer.model.text_teacher import TextTeacher

KEYS_READ_TOGETHER = 8192


@dataclass(frozen=True, kw_only=True, slots=True)
class TextConfig(DataConfig):
    """Captions and CLIP's text features of them: from the store, or by CLIP's text tower at every step."""

    teacher: Literal["stored", "online"] = "stored"
    """Where CLIP's text features come from: teacher_fields of the store, or its text tower (clip) at every step."""
    clip: str | None = None
    """The CLIP of an online teacher, and whose image tower evaluates the adapter (--eval-sets): a folder or hub id."""
    shards: tuple[str, ...] = ()
    """Shards with the captions of an online teacher: paths, globs, brace ranges or @FILE lists."""
    teacher_fields: tuple[str, ...] = ()
    """Fields of CLIP's own text features of the same captions, in the same order."""

    def check(self) -> None:
        if self.teacher == "online" and self.clip is None:
            raise ConfigError("--teacher online needs a CLIP whose text tower is the teacher; give --clip")
        views = len(self.data[0].fields)
        for dataset in self.data:
            name, fields, teachers = dataset.name, len(dataset.fields), len(dataset.teacher_fields)
            if self.teacher == "online" and (teachers or not dataset.shards or fields != views):
                raise ConfigError(
                    f"dataset {name!r} does not fit --teacher online, which takes captions from shards and no "
                    "teacher_fields, and as many fields in all datasets"
                )
            if self.teacher == "stored" and not fields == teachers == views:
                raise ConfigError(
                    f"dataset {name!r} names {fields} fields and {teachers} teacher_fields; expected {views} of each: "
                    "a teacher for each field, as many in all datasets"
                )


class VectorDataset(Part):
    """The keys of one dataset that have vectors in all fields; ``keys`` are (n,) UTF-8 byte strings."""

    def __init__(self, dataset: Dataset, missing: Missing) -> None:
        super().__init__(dataset)
        self.teachers = Join(dataset.store, dataset.teacher_fields)
        for view, (field, teacher) in enumerate(zip(dataset.fields, dataset.teacher_fields, strict=True)):
            if self.join.caption_field(view) != self.teachers.caption_field(view):
                raise ConfigError(
                    f"field {field!r} is made from captions {self.join.caption_field(view)!r}, its "
                    f"teacher {teacher!r} from {self.teachers.caption_field(view)!r}; "
                    "give teacher_fields in the order of fields"
                )
        keys = self.join.keys() if dataset.keys is None else read_key_list(dataset.keys)
        covered = self.join.covered(keys, missing) & self.teachers.covered(keys, missing)
        self.keys, self.left_out = keys[covered], {NO_VECTOR: int((~covered).sum())}
        self._check_captions()

    def _check_captions(self) -> None:
        """Raises: StaleCaptionError: a vector and its teacher are made from different captions."""
        for view, (field, teacher) in enumerate(zip(self.join.fields, self.teachers.fields, strict=True)):
            differing, first = 0, ""
            for keys in keys_in_parts(self.keys):
                hashes = (join.caption_hashes(keys, view) for join in (self.join, self.teachers))
                differ = store.captions_differ(*hashes)
                differing += int(differ.sum())
                first = first or (keys[differ.argmax()] if differ.any() else "")
            if differing:
                raise StaleCaptionError(
                    f"{differing} of {len(self.keys)} keys, first {first!r}, have a vector in {field!r} "
                    f"and a teacher in {teacher!r} of different captions; embed the captions anew with both models"
                )

    @property
    def source(self) -> Source:
        """Keys that are neighbours in the store are read together."""
        whole, rest = divmod(len(self.keys), KEYS_READ_TOGETHER)
        sizes = [KEYS_READ_TOGETHER] * whole + [rest] * (rest > 0)
        return Source(self.name, sizes, self.weight, self.left_out, keys=self.keys)


class VectorData(Several[VectorDataset]):
    """Caption vectors and teacher vectors by sample key, from stores alone; ``teachers`` is the first's join."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__([VectorDataset(dataset, config.missing) for dataset in config.data])
        require_one_model({part.name: part.teachers for part in self.parts})
        self.teachers = self.parts[0].teachers
        self._teacher_dtype = batch_dtype(*(part.teachers.dtype for part in self.parts))

    def load(self, samples: np.ndarray, epoch: int, places: np.ndarray) -> dict[str, Any]:
        """``caption`` (V, B, D) and ``teacher`` (V, B, E), float16 where the store holds no more, else float32."""
        views = len(self.join.fields)
        caption_VBD = empty_batch(views, len(samples), self.join.dim, dtype=self.dtype)
        teacher_VBE = empty_batch(views, len(samples), self.teachers.dim, dtype=self._teacher_dtype)
        for part, at, rows in self.divided(samples):
            keys = [key.decode() for key in part.keys[rows]]
            for view in range(views):
                caption_VBD.numpy()[view, at] = part.join.vectors(keys, view, part.join.dtype)
                teacher_VBE.numpy()[view, at] = part.teachers.vectors(keys, view, part.teachers.dtype)
        return {"caption": caption_VBD, "teacher": teacher_VBE}


class CaptionDataset(Part):
    """The samples of one dataset's shards that have a vector in every field; only their json members are read."""

    def __init__(self, dataset: Dataset, missing: Missing) -> None:
        super().__init__(dataset)
        self.samples = joined_samples(dataset, self.join, missing)

    @property
    def source(self) -> Source:
        return self.samples.source(self.name, self.weight)

    def texts_and_vectors(self, rows: np.ndarray, view: int) -> tuple[list[str], np.ndarray]:
        """The captions (n) of one view and their vectors (n, D).

        Raises:
            ConfigError: a sample's json lacks the caption.
            StaleCaptionError: the shard's caption is not the one that was embedded.
        """
        field = self.join.caption_field(view)
        keys, texts = [self.samples.key(row) for row in rows], []
        for row in rows:
            if (text := self.samples.caption(row, field)) is None:
                raise ConfigError(f"{self.samples.where(row)} has no caption {field!r}, but a vector; embed it anew")
            texts.append(text)
        self.join.check_captions(keys, texts, view)
        return texts, self.join.vectors(keys, view, self.join.dtype)


class CaptionData(Several[CaptionDataset]):
    """Caption vectors of the store with the tokens of the same captions from the shards, for an online teacher."""

    def __init__(self, config: TextConfig, teacher: TextTeacher) -> None:
        super().__init__([CaptionDataset(dataset, config.missing) for dataset in config.data])
        self.teachers = self.teacher = teacher

    def load(self, samples: np.ndarray, epoch: int, places: np.ndarray) -> dict[str, Any]:
        """``caption`` (V, B, D) as stored, ``tokens`` and ``mask`` (V B, T) of the same captions, view by view."""
        views = len(self.join.fields)
        caption_VBD = empty_batch(views, len(samples), self.join.dim, dtype=self.dtype)
        vectors, texts = caption_VBD.numpy(), np.empty((views, len(samples)), dtype=object)
        for part, at, rows in self.divided(samples):
            for view in range(views):
                texts[view, at], vectors[view, at] = part.texts_and_vectors(rows, view)
        tokens, mask = self.teacher.tokens(texts.flatten().tolist())
        return {"caption": caption_VBD, "tokens": tokens, "mask": mask}

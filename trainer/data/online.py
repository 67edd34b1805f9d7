"""Stage 1 as it is published: the teacher is CLIP's text tower, run on the shards' captions at every step.

The same losses as with a teacher field of the store, at many times the price; for captions that change, or where there
is no room for a field. Only the json members of the shards are read.

Legend: V caption views, B batch, T tokens, D embedder width, E joint width.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from store.common.errors import ConfigError
from trainer.data.datasets import Dataset, require_one_model
from trainer.data.join import Join, Missing
from trainer.data.loader import NO_VECTOR
from trainer.data.order import Source
from trainer.data.samples import ShardSamples
from trainer.data.shared_batches import batch_dtype, empty_batch
from trainer.model.identity import made_by
from trainer.model.towers import quiet_loading


class TextTeacher:
    """A CLIP's text tower with its tokenizer; no part of the module that is trained.

    Attributes:
        dim: E, the width of the joint space.
        made_by: which weights these are, as a teacher field tells it.
    """

    def __init__(self, clip: str, dtype: torch.dtype) -> None:
        """Raises: ConfigError: no CLIP can be loaded from there."""
        from transformers import AutoConfig, AutoTokenizer, CLIPTextModelWithProjection

        try:
            config = AutoConfig.from_pretrained(clip)
            if config.model_type != "clip":
                raise ConfigError(
                    f"{clip!r} holds a model of type {config.model_type!r}; an online teacher is a 'clip'"
                )
            shape = config.text_config
            shape.projection_dim = config.projection_dim  # CLIPModel goes by this one; the tower's own may be another
            with quiet_loading():
                loaded: Any = CLIPTextModelWithProjection.from_pretrained(
                    clip, config=shape, dtype=dtype, output_loading_info=True
                )
            self.tokenizer = AutoTokenizer.from_pretrained(clip)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            if isinstance(error, ConfigError):
                raise
            reason = str(error).split("\n")[0]
            raise ConfigError(f"no CLIP can be loaded from {clip!r} (a folder or a hub id): {reason}") from error
        model, found = loaded
        if found["missing_keys"]:
            raise ConfigError(f"{clip!r} holds no weights for {sorted(found['missing_keys'])[0]!r} of the text tower")
        self.model = model.eval().requires_grad_(False)
        self.max_length = int(shape.max_position_embeddings)
        self.dim, self.made_by = int(config.projection_dim), made_by(clip)

    def tokens(self, captions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and mask, (n, T) int64 each, T the longest; special tokens in a caption are plain text."""
        encoded = self.tokenizer(
            [caption.strip() for caption in captions],
            padding=True,
            truncation=True,
            max_length=self.max_length,
            split_special_tokens=True,
            return_tensors="pt",
        )
        return encoded["input_ids"], encoded["attention_mask"]

    @torch.no_grad()
    def features(self, ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        """CLIP's text features, not normalised: (n, E) float32."""
        return self.model(input_ids=ids_BT, attention_mask=mask_BT).text_embeds.float()


class CaptionData:
    """Caption vectors of the store with the tokens of the same captions from the shards; one or several datasets.

    Attributes:
        captions: the first dataset's join; the vectors of all are of one model.
    """

    def __init__(self, datasets: Sequence[Dataset], missing: Missing, teacher: TextTeacher) -> None:
        self.teacher = teacher
        self.datasets = [CaptionDataset(dataset, missing) for dataset in datasets]
        require_one_model({part.name: part.captions for part in self.datasets})
        self.captions = self.datasets[0].captions
        self.dtype = batch_dtype(*(part.captions.dtype for part in self.datasets))
        self.starts = np.cumsum([0, *(len(part.samples) for part in self.datasets)])

    @property
    def sources(self) -> Sequence[Source]:
        return [part.source for part in self.datasets]

    def load(self, samples: np.ndarray, epoch: int, places: np.ndarray) -> dict[str, Any]:
        """``caption`` (V, B, D) as stored, ``tokens`` and ``mask`` (V B, T) of the same captions, view by view."""
        numbers = np.searchsorted(self.starts, samples, side="right") - 1
        views = range(len(self.captions.fields))
        caption_VBD = empty_batch(len(views), len(samples), self.captions.dim, dtype=self.dtype)
        vectors, texts = caption_VBD.numpy(), np.empty((len(views), len(samples)), dtype=object)
        for number in np.unique(numbers):
            part, of_it = self.datasets[number], np.flatnonzero(numbers == number)
            rows = samples[of_it] - self.starts[number]
            for view in views:
                texts[view, of_it], vectors[view, of_it] = part.texts_and_vectors(rows, view)
        tokens, mask = self.teacher.tokens(texts.flatten().tolist())
        return {"caption": caption_VBD, "tokens": tokens, "mask": mask}


class CaptionDataset:
    """The samples of one dataset's shards that have a vector in every field."""

    def __init__(self, dataset: Dataset, missing: Missing) -> None:
        self.name, self.weight = dataset.name, dataset.weight
        self.captions = Join(dataset.store, dataset.fields)
        self.samples = ShardSamples(dataset.shards, dataset.keys, show_progress=True)
        self.samples.keep(self.captions.covered(self.samples.keys, missing), NO_VECTOR)

    def texts_and_vectors(self, rows: np.ndarray, view: int) -> tuple[list[str], np.ndarray]:
        """The captions (n) of one view and their vectors (n, D).

        Raises:
            ConfigError: a sample's json lacks the caption.
            StaleCaptionError: the shard's caption is not the one that was embedded.
        """
        field = self.captions.caption_field(view)
        keys = [self.samples.key(row) for row in rows]
        texts = []
        for row in rows:
            if (text := self.samples.caption(row, field)) is None:
                raise ConfigError(f"{self.samples.where(row)} has no caption {field!r}, but a vector; embed it anew")
            texts.append(text)
        self.captions.check_captions(keys, texts, view)
        return texts, self.captions.vectors(keys, view, self.captions.dtype)

    @property
    def source(self) -> Source:
        return Source(self.name, self.samples.shard_sizes, self.weight, self.samples.counts, keys=self.samples.keys)

"""A checkpoint as a model for other benchmarks: images are Pillow pictures, texts come from a store."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import store
from store.common.errors import ConfigError
from store.common.outputs import Outputs
from tools.evaluate.keyed_texts import TEXTS, text_lines
from tools.evaluate.stored_texts import StoredTexts, constant_features
from tools.evaluate.subject import evaluation_device
from tools.query.encoding import load_model as load_embedder
from trainer.checkpoint.model import load_model
from trainer.data.join import Join
from trainer.evaluation.features import tensors_identity, weights_identity
from trainer.model.towers import Tower


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """A checkpoint, and the source of its texts."""

    clip: str
    """The CLIP or SigLIP that was tuned: a folder or hub id, or a name of open_clip's."""
    checkpoint: Path | None = None
    """Run or checkpoint to evaluate; without it, CLIP itself, with a field of its own text features."""
    store: Path
    """The store with the vectors of the texts."""
    field: str
    """The field of the text vectors, of the embedder that the checkpoint was trained with: llama/caption."""
    name: str | None = None
    """Name of the model in results; by default the last part of the checkpoint's or CLIP's path."""
    write_texts: Path | None = None
    """A jsonl file: list the texts without a vector there, for `keyclip embed`, and evaluate nothing."""
    embed_missing: bool = False
    """Embed texts without a vector with the field's own model, each time anew, instead of refusing them."""
    embedder: str | None = None
    """With --embed-missing: folder or hub id of that model, where the store does not know its place."""
    check_clip: bool = True
    """Refuse a CLIP whose text space is not the one that the checkpoint was trained for, or not the field's."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:1."""

    def __post_init__(self) -> None:
        if self.embed_missing and self.write_texts:
            raise ConfigError("give --write-texts to embed the texts once, or --embed-missing, not both")
        if self.write_texts and self.write_texts.suffix != ".jsonl":
            raise ConfigError(f"--write-texts {str(self.write_texts)!r} must be the name of a .jsonl file")
        if self.embedder and not self.embed_missing:
            raise ConfigError("--embedder belongs to --embed-missing")


class BenchmarkModel:
    """A loaded checkpoint.

    Attributes:
        name: its name in results.
        identity: hash of image weights, adapter, and how the text vectors were made.
        tower: image tower, on ``device``, in evaluation mode.
        texts: text features by text.
        lists_texts: whether the texts without a vector are only listed, and all features are the same.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Raises: ConfigError, CheckpointError: model, store or field is absent, or they do not fit."""
        self.device = evaluation_device(config.device)
        model = load_model(config.clip, config.checkpoint, config.check_clip)
        join = Join(config.store, [config.field])
        self.name = config.name or Path(config.checkpoint or config.clip).name
        self.tower: Tower = model.tower
        self.tower.model.to(self.device)
        embed = None
        if config.embed_missing:
            encoder = load_embedder(store.open(config.store).field(config.field), config.embedder, device=config.device)
            embed = encoder.encode
        self._write_texts, self.lists_texts = config.write_texts, config.write_texts is not None
        self.texts = StoredTexts(join, model, embed=embed, collect=self.lists_texts)
        adapter = tensors_identity(model.adapter.state_dict() if model.adapter else {})
        parts = [weights_identity(self.tower), adapter, *join.made_by.values()]
        self.identity = f"{store.caption_hash(chr(10).join(parts)):016x}"

    def pixels(self, picture: Image.Image) -> np.ndarray:
        """The tower's input for a picture, not normalised: (C, H, W) uint8."""
        return self.tower.transform.evaluate_picture(picture)

    @torch.no_grad()
    def image_features(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """L2-normalised features of :meth:`pixels`, (B, E) float32 on the device; constant if texts are only listed."""
        if self.lists_texts:
            return constant_features(len(pixels_BCHW), self.tower.dim).to(self.device)
        return self.tower.model.normalized(self.tower.transform.normalize(pixels_BCHW.to(self.device)))

    def picture_features(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """L2-normalised features of pictures, (B, E) float32 on the CPU."""
        pixels = np.stack([self.pixels(picture) for picture in pictures])
        return self.image_features(torch.from_numpy(pixels)).cpu()

    def write_texts(self) -> None:
        """List the texts that a benchmark needs and the store lacks, with --write-texts; prints their number."""
        if self._write_texts is None:
            return
        with Outputs(overwrite=True) as outputs:
            outputs.lines(outputs.claim(self._write_texts, TEXTS)).write(text_lines(self.texts.missing))
        print(f"{len(self.texts.missing):,} texts without a vector in {self._write_texts}; embed them and run again")

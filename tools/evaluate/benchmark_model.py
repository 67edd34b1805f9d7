"""A checkpoint as a model for other benchmarks: images are Pillow pictures, texts come from a store."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import store
from store.common.errors import ConfigError, MissingKeysError
from store.common.outputs import Outputs
from tools.evaluate.keyed_texts import TEXTS, text_lines
from tools.evaluate.subject import evaluation_device
from tools.query.encoding import load_model as load_embedder
from trainer.checkpoint.model import load_model
from trainer.data.join import Join
from trainer.evaluation.features import tensors_identity, weights_identity
from trainer.model.tower_base import Tower


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
    """A loaded checkpoint, with text features in its joint space from the vectors of one field of a store.

    Benchmarks hand over texts, not keys: a text is found by the hash of its caption, under whatever key it has.

    Attributes:
        name: its name in results.
        identity: hash of image weights, adapter, and how the text vectors were made.
        tower: image tower, on ``device``, in evaluation mode.
        lists_texts: whether the texts without a vector are only listed, and all features are the same.
        missing: the listed texts, by the key that they are to have.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Raises: ConfigError, CheckpointError: model, store or field is absent, or they do not fit."""
        self.device = evaluation_device(config.device)
        model = load_model(config.clip, config.checkpoint, config.check_clip)
        self._join, self._adapter = Join(config.store, [config.field]), model.adapter
        model.require_fit(self._join)
        self.name = config.name or Path(config.checkpoint or config.clip).name
        self.tower: Tower = model.tower
        self.tower.model.to(self.device)
        self._write_texts, self.lists_texts = config.write_texts, config.write_texts is not None
        self.missing: dict[str, str] = {}
        self._embed: Callable[[Sequence[str]], np.ndarray] | None = None
        if config.embed_missing:
            field = store.open(config.store).field(config.field)
            self._embed = load_embedder(field, config.embedder, device=config.device).encode
        adapter = tensors_identity(model.adapter.state_dict() if model.adapter else {})
        parts = [weights_identity(self.tower), adapter, *self._join.made_by.values()]
        self.identity = f"{store.caption_hash(chr(10).join(parts)):016x}"
        keys = self._join.keys()
        hashes = (
            self._join.caption_hashes([key.decode() for key in keys.tolist()], 0) if len(keys) else np.zeros(0, "u8")
        )
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._keys = hashes[order], keys[order]

    def pixels(self, picture: Image.Image) -> torch.Tensor:
        """The tower's input for a picture, (C, H, W) uint8, to be normalised on the tower's device."""
        return torch.from_numpy(self.tower.transform.evaluate_picture(picture))

    @torch.no_grad()
    def image_features(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """L2-normalised features of :meth:`pixels`, (B, E) float32 on the device; constant if texts are only listed."""
        if self.lists_texts:
            return self._constant(len(pixels_BCHW)).to(self.device)
        return self.tower.model.normalized(self.tower.transform.normalize(pixels_BCHW.to(self.device)))

    def picture_features(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """L2-normalised features of pictures, (B, E) float32 on the CPU."""
        return self.image_features(torch.stack([self.pixels(picture) for picture in pictures])).cpu()

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> torch.Tensor:
        """L2-normalised features, (n, E) float32 on the CPU, in the order of ``texts``.

        Raises:
            MissingKeysError: texts have no vector; names their number, the first, and the remedy.
        """
        hashes = np.array([store.caption_hash(text) for text in texts], dtype=np.uint64)
        places = np.minimum(np.searchsorted(self._hashes, hashes), max(0, len(self._hashes) - 1))
        found = self._hashes[places] == hashes if len(self._hashes) else np.zeros(len(texts), dtype=bool)
        absent = [text for text, there in zip(texts, found.tolist(), strict=True) if not there]
        if self.lists_texts:
            self.missing |= {f"text/{store.caption_hash(text):016x}": text for text in absent}
            return self._constant(len(texts))
        vectors = np.zeros((len(texts), self._join.dim), np.float32)
        vectors[found] = self._join.vectors([key.decode() for key in self._keys[places[found]].tolist()], 0)
        if absent:
            if self._embed is None:
                raise MissingKeysError(
                    f"{len(absent)} texts have no vector in field {self._join.fields[0]!r} of store "
                    f"{str(self._join.path)!r}, first {absent[0]!r:.100}; list them with --write-texts and run "
                    "`keyclip embed` on that file, or embed them each time with --embed-missing"
                )
            vectors[~found] = self._embed(absent)
        features = torch.from_numpy(vectors)
        return F.normalize(self._adapter(features) if self._adapter else features, dim=-1)

    def _constant(self, count: int) -> torch.Tensor:
        """The same unit vector for everything, so that a benchmark runs through: (count, E) float32."""
        return torch.eye(1, self.tower.dim).repeat(count, 1)

    def write_texts(self) -> None:
        """List the texts that a benchmark needs and the store lacks, with --write-texts; prints their number."""
        if self._write_texts is None:
            return
        with Outputs(overwrite=True) as outputs:
            outputs.lines(outputs.claim(self._write_texts, TEXTS)).write(text_lines(self.missing))
        print(f"{len(self.missing):,} texts without a vector in {self._write_texts}; embed them and run again")

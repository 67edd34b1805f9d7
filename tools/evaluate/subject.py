"""The model that is evaluated, next to the original CLIP: image towers, and text sides over a store."""

from pathlib import Path

import torch

from embedder.models.load import pick_device
from trainer.checkpoint.model import load_model
from trainer.data.join import Join
from trainer.evaluation.features import Encoder
from trainer.evaluation.texts import Adapter

TextSide = tuple[Join, Adapter]
"""Fields of a store, and what maps their vectors to the joint space."""


def evaluation_device(name: str) -> torch.device:
    """The device of a setting; ``auto`` is CUDA where there is one, else the CPU."""
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    return pick_device(auto if name == "auto" else name)


class Subject:
    """A checkpoint, or CLIP itself.

    Attributes:
        encoder: encodes images with the model's tower.
        original: encodes images with the original CLIP's tower, for CKA; None measures none.
    """

    def __init__(
        self, clip: str, checkpoint: Path | None, device: str, kept: Path | None, cka: bool, check_clip: bool
    ) -> None:
        """``kept`` is the folder of image features; for ``check_clip`` see :func:`load_model`."""
        self.model = load_model(clip, checkpoint, check_clip)
        self.device = evaluation_device(device)
        self.encoder = Encoder(self.model.tower, self.device, kept)
        self.original: Encoder | None = None
        if cka and checkpoint is not None:
            original = Encoder(load_model(clip, None).tower, self.device, kept)
            self.original = self.encoder if original.identity == self.encoder.identity else original

    def text_sides(self, store: Path, own: list[str], original: list[str]) -> tuple[TextSide, TextSide]:
        """The model's text side, over its ``own`` fields if it has an adapter, and the original CLIP's."""
        original_join = Join(store, original)
        self.model.original().require_fit(original_join)
        if not self.model.adapter:
            return (original_join, None), (original_join, None)
        own_join = Join(store, own)
        self.model.require_fit(own_join)
        return (own_join, self.model.adapter), (original_join, None)

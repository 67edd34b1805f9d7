"""The online teacher of stage 1, as it is published: CLIP's text tower, run on the captions at every step.

The losses are the same as with a teacher field of the store, at many times the price; it is for captions that change,
or where there is no room for a field.
"""

from collections.abc import Sequence

import torch

from trainer.model.identity import made_by
from trainer.model.towers import load_part, loading, read_config


class TextTeacher:
    """A CLIP's text tower with its tokenizer; no part of the module that is trained.

    Attributes:
        dim: E, the width of the joint space.
        made_by: its model and revision, as a teacher field describes them.
    """

    def __init__(self, clip: str, dtype: torch.dtype) -> None:
        """Raises: ConfigError: no CLIP can be loaded from there."""
        from transformers import AutoTokenizer

        with loading(clip):
            config = read_config(clip, ["clip"], "an online teacher is a 'clip'")
            model, shape = load_part(clip, config, "text", "text_config", "CLIPTextModelWithProjection", dtype)
            self.tokenizer = AutoTokenizer.from_pretrained(clip)
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

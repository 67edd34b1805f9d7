"""Retrieval examples of a result: captions evenly spread over a set, and the images that rank first."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import torch

from trainer.evaluation.sets.annotations import Caption
from trainer.evaluation.sets.images import Images
from trainer.images.decoding import decode

SHOWN = 5  # images for an example
THUMBNAIL = 160  # pixels


def spread(count: int, total: int) -> list[int]:
    """Positions evenly spread: the same for every model."""
    return torch.linspace(0, total - 1, min(count, total)).long().tolist()


def retrieval_examples(
    images: Images, image_IE: torch.Tensor, captions: Sequence[Caption], text_QE: torch.Tensor
) -> list[dict[str, Any]]:
    """For each caption, given with its features, the images that rank first, and the rank of its own."""
    examples = []
    for caption, text_E in zip(captions, text_QE, strict=True):
        scores = image_IE @ text_E
        order = scores.argsort(descending=True).tolist()
        retrieved = [
            {
                "key": images.key(i),
                "score": scores[i].item(),
                "correct": i in caption.images,
                "image": _thumbnail(images.image(i)),
            }
            for i in order[:SHOWN]
        ]
        sought = caption.images[0]
        examples.append(
            {
                "query": caption.text,
                "key": images.key(sought),
                "rank": 1 + min(order.index(i) for i in caption.images),
                "retrieved": retrieved,
                "image": _thumbnail(images.image(sought)),
            }
        )
    return examples


def _thumbnail(payload: bytes) -> str:
    image = decode(payload)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()

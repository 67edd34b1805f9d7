"""Retrieval examples of a result: captions evenly spread over a set, and the images that rank first."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import torch

from trainer.checkpoint.model import Model
from trainer.data.join import Join
from trainer.evaluation.features import caption_features
from trainer.evaluation.sets.annotations import Caption
from trainer.evaluation.sets.images import Images
from trainer.images.decoding import decode

SHOWN = 5  # images for an example


THUMBNAIL = 160  # pixels


def spread(count: int, total: int) -> list[int]:
    """Positions evenly spread: the same for every model."""
    return torch.linspace(0, total - 1, min(count, total)).long().tolist()


def retrieval_examples(
    count: int,
    images: Images,
    captions: Sequence[Caption],
    image_IE: torch.Tensor,
    join: Join,
    prefix: str,
    model: Model,
) -> list[dict[str, Any]]:
    """For captions evenly spread over the set, the images that rank first."""
    asked = [captions[i] for i in spread(count, len(captions))]
    text_QE = caption_features(join, [prefix + caption.key for caption in asked], model.adapter)[0]
    return [_example(caption, images, image_IE @ text_E) for caption, text_E in zip(asked, text_QE, strict=True)]


def _example(caption: Caption, images: Images, scores: torch.Tensor) -> dict[str, Any]:
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
    rank = 1 + min(order.index(i) for i in caption.images)
    sought = caption.images[0]
    entry = {"query": caption.text, "key": images.key(sought), "rank": rank, "retrieved": retrieved}
    return entry | {"image": _thumbnail(images.image(sought))}


def _thumbnail(payload: bytes) -> str:
    image = decode(payload)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()

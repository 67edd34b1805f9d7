"""Features for evaluation: images through a tower, captions through the store."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from store.common.errors import MissingKeysError
from trainer.data.join import Join
from trainer.evaluation.sets.images import Images
from trainer.images.transform import BrokenImageError
from trainer.model.tower_base import Tower

BATCH = 128
CAPTIONS = 16_384  # caption vectors in memory at a time


@torch.no_grad()
def image_features(tower: Tower, samples: Images, device: torch.device, show_progress: bool = True) -> torch.Tensor:
    """Normalised features of every image: (I, E) float32 on the CPU, in the samples' order.

    Raises:
        BrokenImageError: an image cannot be decoded.
    """
    model = tower.model.to(device)
    rows = []

    def pixels(position: int, payload: bytes) -> np.ndarray:
        try:
            return tower.transform.evaluate(payload)
        except BrokenImageError as error:
            raise samples.broken(position, error) from error

    with ThreadPoolExecutor() as decoders:
        for start in tqdm(
            range(0, len(samples), BATCH), "images", unit="batch", leave=False, disable=not show_progress
        ):
            positions = range(start, min(start + BATCH, len(samples)))
            payloads = [samples.image(i) for i in positions]
            batch = np.stack(list(decoders.map(pixels, positions, payloads)))
            image_BCHW = tower.transform.normalize(torch.from_numpy(batch).to(device))
            rows.append(model.normalized(image_BCHW).cpu())
    return torch.cat(rows)


@torch.no_grad()
def caption_features(join: Join, keys: Sequence[str], adapter: nn.Module | None) -> torch.Tensor:
    """Normalised joint-space features of each key's caption in each field of the join: (fields, n, E) float32."""
    join.covered(keys, "error")
    views = []
    for which in range(len(join.fields)):
        blocks = []
        for start in range(0, max(1, len(keys)), CAPTIONS):
            vectors = torch.from_numpy(join.vectors(keys[start : start + CAPTIONS], which))
            blocks.append(F.normalize(adapter(vectors) if adapter else vectors, dim=-1))
        views.append(torch.cat(blocks))
    return torch.stack(views)


def require_embedded(join: Join, keys: Sequence[str], texts: Sequence[str], name: str) -> None:
    """Raises: MissingKeysError: texts of a set have no vector; StaleCaptionError: the vector is of another text."""
    found = join.covered(keys, "skip")
    if not found.all():
        first = keys[int((~found).argmax())]
        raise MissingKeysError(
            f"{int((~found).sum())} of {len(keys)} texts of set {name!r} have no vector in field {join.fields[0]!r} of "
            f"store {str(join.path)!r}, first {first!r}; write them with `keyclip eval-captions` and run "
            "`keyclip embed` on that file"
        )
    join.check_captions(keys, texts, 0)

"""Image features for evaluation: through a tower, kept on disk by the weights and the images that they come from.

FOLDER/WEIGHTS/SET-IMAGES.npy      (I, E) float32; WEIGHTS and IMAGES are hashes of 16 hexadecimal digits
"""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import xxhash
from tqdm import tqdm

from store.common.errors import ConfigError
from store.common.files import flush, full_disk_is_told, unfinished_file
from trainer.evaluation.sets.images import Images
from trainer.images.transform import BrokenImageError
from trainer.model.tower_base import Tower

BATCH = 128
SAMPLED = 16  # images whose bytes go into the name of a file


@torch.no_grad()
def image_features(tower: Tower, samples: Images, device: torch.device, show_progress: bool = True) -> torch.Tensor:
    """Normalised features of every image, (I, E) float32 on the CPU. Raises: BrokenImageError: one is no image."""
    model = tower.model.to(device)
    rows = []

    def pixels(position: int, payload: bytes) -> np.ndarray:
        try:
            return tower.transform.evaluate(payload)
        except BrokenImageError as error:
            raise samples.broken(position, error) from error

    starts = range(0, len(samples), BATCH)
    with ThreadPoolExecutor() as decoders:
        for start in tqdm(starts, "images", unit="batch", leave=False, disable=not show_progress):
            positions = range(start, min(start + BATCH, len(samples)))
            payloads = [samples.image(i) for i in positions]
            batch = np.stack(list(decoders.map(pixels, positions, payloads)))
            image_BCHW = tower.transform.normalize(torch.from_numpy(batch).to(device))
            rows.append(model.normalized(image_BCHW).cpu())
    return torch.cat(rows)


def weights_identity(tower: Tower) -> str:
    """A hash of a tower's weights and of its preparation of images: the same for the same features."""
    settings = json.dumps(tower.model.processor_settings(tower.transform), sort_keys=True)
    return xxhash.xxh3_64_hexdigest(f"{settings} {tensors_identity(tower.model.state_dict())}".encode())


def tensors_identity(tensors: Mapping[str, torch.Tensor]) -> str:
    """A hash of named tensors, 16 hexadecimal digits."""
    digest = xxhash.xxh3_64()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def images_identity(images: Images) -> str:
    """A hash of all names and of the bytes of 16 images that are evenly spread over the set."""
    digest = xxhash.xxh3_64()
    for i in range(len(images)):
        digest.update(images.key(i).encode() + b"\0")
    for i in np.linspace(0, len(images) - 1, min(SAMPLED, len(images))).astype(int).tolist():
        digest.update(images.image(i))
    return digest.hexdigest()


class Encoder:
    """Encodes the images of sets with one tower; features of the latest set, and features kept in a folder, are reused.

    Attributes:
        identity: hash of the tower's weights.
    """

    def __init__(self, tower: Tower, device: torch.device, folder: Path | None = None) -> None:
        self.tower, self._device = tower, device
        self.identity = weights_identity(tower)
        self._folder = folder / self.identity if folder else None
        self._latest: tuple[Images, torch.Tensor] | None = None

    def features(self, name: str, images: Images) -> torch.Tensor:
        """Normalised features of the images of a set, (I, E) float32 on the CPU.

        Raises:
            BrokenImageError: an image cannot be decoded.
            ConfigError: a kept file is damaged or of another shape.
            StoreFullError: no space left to keep them.
        """
        if self._latest is None or self._latest[0] is not images:
            self._latest = images, self._found(name, images)
        return self._latest[1]

    def _found(self, name: str, images: Images) -> torch.Tensor:
        if self._folder is None:
            return image_features(self.tower, images, self._device)
        file, shape = self._folder / f"{name}-{images_identity(images)}.npy", (len(images), self.tower.dim)
        if file.exists():
            try:
                kept = np.load(file, allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise ConfigError(f"the kept features {str(file)!r} cannot be read ({error}); remove it") from error
            if kept.shape != shape or kept.dtype != np.float32:
                raise ConfigError(
                    f"the kept features {str(file)!r} are {kept.dtype} of shape {kept.shape}; expected float32 of "
                    f"shape {shape}: remove the file"
                )
            return torch.from_numpy(kept)
        found = image_features(self.tower, images, self._device)
        with full_disk_is_told(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            part = unfinished_file(file.parent)
            with part.open("wb") as stream:
                np.save(stream, found.numpy(), allow_pickle=False)
            flush(part)
            part.replace(file)
        return found

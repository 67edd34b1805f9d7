"""Images of an evaluation set by position: files of folders, or samples of webdataset shards."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np

from store.common.errors import ConfigError
from trainer.data.samples import ShardSamples
from trainer.evaluation.sets.annotations import IMAGE_SUFFIXES, has_image_suffix, stem
from trainer.images.transform import BrokenImageError


class Images(Protocol):
    """Encoded images, addressed by position."""

    def __len__(self) -> int: ...

    def key(self, position: int) -> str:
        """A name for people, unique within the set."""

    def image(self, position: int) -> bytes:
        """The image's file, not decoded."""

    def broken(self, position: int, error: BrokenImageError) -> BrokenImageError:
        """The error of decoding an image, with its name."""


class FolderImages:
    """Image files; ``names`` are their names in the annotations."""

    def __init__(self, files: Sequence[Path], names: Sequence[str]) -> None:
        self._files, self._names = list(files), list(names)

    def __len__(self) -> int:
        return len(self._files)

    def key(self, position: int) -> str:
        return self._names[position]

    def image(self, position: int) -> bytes:
        return self._files[position].read_bytes()

    def broken(self, position: int, error: BrokenImageError) -> BrokenImageError:
        return BrokenImageError(f"{str(self._files[position])!r}: {error}; download it again")


class ImageSubset:
    """The images at some positions of others, such as the samples of shards."""

    def __init__(self, images: Images, positions: Sequence[int]) -> None:
        self._images, self._positions = images, positions

    def __len__(self) -> int:
        return len(self._positions)

    def key(self, position: int) -> str:
        return self._images.key(self._positions[position])

    def image(self, position: int) -> bytes:
        return self._images.image(self._positions[position])

    def broken(self, position: int, error: BrokenImageError) -> BrokenImageError:
        return self._images.broken(self._positions[position], error)


def find_images(sources: Sequence[str], names: Sequence[str]) -> tuple[Images, np.ndarray]:
    """The images that annotations name, in folders or in webdataset shards; and which were found, (names,) bool.

    In folders an image is FOLDER/NAME, or FOLDER/FILE where NAME has folders of its own; a name without the suffix of
    an image is tried with each. In shards it is the sample whose key is NAME or FILE without suffix.

    Raises:
        ConfigError: no source is named, or folders and shards are mixed, or a folder is not there.
    """
    if not sources:
        raise ConfigError("no images are named; give image folders or shards")
    folders = [Path(source) for source in sources if Path(source).is_dir()]
    if folders and len(folders) < len(sources):
        raise ConfigError(f"images are partly folders and partly not: {', '.join(sources)}; give one or the other")
    if folders:
        files = {name: file for name in names if (file := _in_folders(folders, name)) is not None}
        return FolderImages(list(files.values()), list(files)), np.array([name in files for name in names], dtype=bool)
    if not any(source.startswith("@") or source.endswith(".tar") or set("*?[{") & set(source) for source in sources):
        raise ConfigError(f"no such image folder: {sources[0]!r}; give the folder of the images, or .tar shards")
    samples = ShardSamples(sources)
    position = {key.decode(): i for i, key in enumerate(samples.keys)}
    places = [position.get(stem(name), position.get(PurePosixPath(stem(name)).name, -1)) for name in names]
    return ImageSubset(samples, [place for place in places if place >= 0]), np.array(places) >= 0


def _in_folders(folders: Sequence[Path], name: str) -> Path | None:
    suffixes = [""] if has_image_suffix(name) else IMAGE_SUFFIXES
    paths = [f"{path}{suffix}" for path in (name, PurePosixPath(name).name) for suffix in suffixes]
    return next((folder / path for folder in folders for path in paths if (folder / path).is_file()), None)

"""Images of an evaluation set by position: files of folders, or samples of webdataset shards."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np

from store.common.errors import ConfigError
from store.sources.shards import expand_shards
from trainer.data.samples import ShardSamples
from trainer.evaluation.sets.annotations import IMAGE_SUFFIXES, stem
from trainer.evaluation.sets.definition import Definition
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
    """Image files; ``names`` are what the annotations call them."""

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


class ShardImages:
    """Some of the samples of shards."""

    def __init__(self, samples: ShardSamples, positions: Sequence[int]) -> None:
        self._samples, self._positions = samples, list(positions)

    def __len__(self) -> int:
        return len(self._positions)

    def key(self, position: int) -> str:
        return self._samples.key(self._positions[position])

    def image(self, position: int) -> bytes:
        return self._samples.image(self._positions[position])

    def broken(self, position: int, error: BrokenImageError) -> BrokenImageError:
        return self._samples.broken(self._positions[position], error)


def find_images(sources: Sequence[str], names: Sequence[str]) -> tuple[Images, np.ndarray]:
    """The images that annotations name, in folders or in webdataset shards; and which were found, (names,) bool.

    In folders an image is FOLDER/NAME, or FOLDER/FILE where NAME has folders of its own; a name without the suffix of
    an image is tried with each. In shards it is the sample whose key is NAME or FILE without suffix.

    Raises:
        ConfigError: no source is named, or folders and shards are mixed, or a folder is not there.
        ShardNotFoundError, DamagedShardError: see :class:`~trainer.data.samples.ShardSamples`.
    """
    if not sources:
        raise ConfigError("no images are named; give image folders or shards")
    folders = [Path(source) for source in sources if Path(source).is_dir()]
    if folders and len(folders) < len(sources):
        raise ConfigError(f"images are partly folders and partly not: {', '.join(sources)}; give one or the other")
    if folders:
        files = [_in_folders(folders, name) for name in names]
        found = np.array([file is not None for file in files], dtype=bool)
        kept = [name for name, file in zip(names, files, strict=True) if file is not None]
        return FolderImages([file for file in files if file is not None], kept), found
    if not any(_is_shards(source) for source in sources):
        raise ConfigError(f"no such image folder: {sources[0]!r}; give the folder of the images, or .tar shards")
    samples = ShardSamples(sources)
    position = {key.decode(): i for i, key in enumerate(samples.keys)}
    places = [position.get(stem(name), position.get(PurePosixPath(stem(name)).name, -1)) for name in names]
    return ShardImages(samples, [place for place in places if place >= 0]), np.array(places) >= 0


def wanted_images(definition: Definition, sources: Sequence[str], names: Sequence[str]) -> tuple[Images, np.ndarray]:
    """:func:`find_images` for a set, which says what to do about images that are not there.

    Raises:
        ConfigError: images are missing and the set does not say ``missing: skip``, or all are; says how many, and the
            first.
    """
    images, found = find_images(sources, names)
    if not found.all() and (definition.missing == "error" or not found.any()):
        raise ConfigError(
            f"{int((~found).sum())} of {len(found)} images of set {definition.name!r} are not in "
            f"{', '.join(sources[:3])}, first {names[int(found.argmin())]!r}; check 'images', or leave them out with "
            "'missing: skip'"
        )
    return images, found


def _is_shards(source: str) -> bool:
    return source.startswith("@") or source.endswith(".tar") or any(c in source for c in "*?[{")


def _in_folders(folders: Sequence[Path], name: str) -> Path | None:
    short = PurePosixPath(name).name
    suffixes = [""] if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES else IMAGE_SUFFIXES
    candidates = (folder / f"{path}{suffix}" for folder in folders for path in (name, short) for suffix in suffixes)
    return next((file for file in candidates if file.is_file()), None)


def shards_of(sources: Sequence[str], split: str) -> list[str]:
    """Shards, or the shards of CLIP_benchmark folders: ``SPLIT/0.tar`` to as many as ``SPLIT/nshards.txt`` says.

    Raises:
        ConfigError: a folder has no such split; ShardNotFoundError: a shard is not there.
    """
    shards: list[str] = []
    for source in sources:
        if not Path(source).is_dir():
            shards.append(source)
            continue
        file = Path(source) / split / "nshards.txt"
        try:
            count = int(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{str(file)!r} cannot be read ({error}); expected CLIP_benchmark's layout: SPLIT/nshards.txt beside "
                "SPLIT/0.tar, SPLIT/1.tar, ..."
            ) from error
        shards += [str(Path(source) / split / f"{i}.tar") for i in range(count)]
    return expand_shards(shards)

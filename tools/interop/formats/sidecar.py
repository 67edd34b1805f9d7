"""LLM2CLIP's and ProCLIP's tars: ``X_text_embeddings.tar`` beside ``X.tar``, or the vectors in the image tar itself.

A vector is a member ``KEY.CAPTION_FIELD``: its float32 numbers, little-endian, and nothing else. A sidecar has the
samples of its image tar in the same order, since both are read in lock-step.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

import store
from store.common.errors import CaptionFieldError, ConfigError, MisalignedError, ShardNotFoundError, VectorFileError
from store.sources.shards import caption_at, load_json, shard_name
from tools.interop.columns import Column, Rows, Source, VectorFile, Vectors, unknown_captions
from tools.interop.tars import Member, Sample, tar_samples

SUFFIX = "_text_embeddings"
NUMBER = np.dtype("<f4")


def sidecar_sources(
    sidecars: Sequence[str], shards: Sequence[str] | None, names: Mapping[str, str], check: bool
) -> list[Source]:
    """Sidecars with the image tars they belong to.

    Args:
        sidecars: files named ``X_text_embeddings.tar``.
        shards: image tars to find ``X.tar`` in; by default it stands beside the sidecar.
        names: caption field -> extension in the sidecar; all of them by default.
        check: whether keys and order are compared with the image tars (and captions taken from them).

    Raises:
        ShardNotFoundError: an image tar is absent.
        ConfigError: a file is not named as a sidecar.
    """
    by_name = {shard_name(shard): shard for shard in shards or ()}
    sources = []
    for sidecar in sidecars:
        name = shard_name(sidecar)
        if not name.endswith(SUFFIX):
            raise ConfigError(f"{sidecar!r} is not named X{SUFFIX}.tar, as the sidecar of X.tar is")
        name = name.removesuffix(SUFFIX)
        beside = str(Path(sidecar).with_name(f"{name}.tar"))
        image = by_name.get(name) if shards else beside if Path(beside).is_file() else None
        if image is None and check:
            where = "among the shards" if shards else "beside it"
            raise ShardNotFoundError(
                f"there is no image tar {name}.tar {where} for {sidecar!r}; name it with --shards, or import without "
                "comparing keys and order by --check False"
            )
        size = Path(sidecar).stat().st_size
        opener = partial(_open, sidecar, image if check else None, name, names)
        sources.append(Source(path=sidecar, num_bytes=size, open=opener))
    return sources


def merged_sources(shards: Sequence[str], names: Mapping[str, str]) -> list[Source]:
    """Image tars that hold the vectors too; ``names`` as caption field -> extension."""
    openers = [partial(_open, shard, shard, shard_name(shard), names) for shard in shards]
    sizes = [Path(shard).stat().st_size for shard in shards]
    return [Source(path=p, num_bytes=n, open=o) for p, n, o in zip(shards, sizes, openers, strict=True)]


@contextlib.contextmanager
def _open(tar: str, image: str | None, name: str, names: Mapping[str, str]) -> Iterator[VectorFile]:
    samples = tar_samples(tar)
    images = samples
    if image is not None and image != tar:
        images = tar_samples(image)
        _require_lock_step(tar, samples, image, images)
    if not samples:
        raise VectorFileError(f"{tar!r} holds no vectors; it has no sample at all")
    names = names or {member.extension: member.extension for member in samples[0].members.values()}
    keys = [sample.key for sample in samples]
    with Path(tar).open("rb") as stream, contextlib.ExitStack() as stack:
        hashes = {field: unknown_captions(len(keys)) for field in names}
        if image is not None:
            photos = stack.enter_context(Path(image).open("rb"))
            hashes = _caption_hashes(photos, image, images, list(names))
        columns = []
        for field, extension in names.items():
            members = _vector_members(tar, samples, extension)
            dim = members[0].size // NUMBER.itemsize
            offsets = np.array([member.offset for member in members], np.int64)
            columns.append(
                Column(
                    caption_field=field,
                    keys=keys,
                    dim=dim,
                    dtype="float32",
                    read=partial(_read, stream, tar, offsets, dim),
                    caption_hashes=hashes[field],
                )
            )
        yield VectorFile(path=tar, name=name, columns=columns)


def _require_lock_step(tar: str, samples: Sequence[Sample], image: str, images: Sequence[Sample]) -> None:
    for position, (expected, found) in enumerate(zip_longest(images, samples)):
        if expected is None or found is None or expected.key != found.key:
            expects = f"key {expected.key!r}" if expected else "its end"
            has = f"key {found.key!r}" if found else "its end"
            raise MisalignedError(
                f"{tar!r} does not go with {image!r}: at position {position} (counted from 0) {expects} was expected, "
                f"{has} found; make the sidecar anew from this image tar, or import without comparing by --check False"
            )


def _vector_members(tar: str, samples: Sequence[Sample], extension: str) -> list[Member]:
    members: list[Member] = []
    for position, sample in enumerate(samples):
        member = sample.members.get(extension.lower())
        if member is None:
            there = ", ".join(f".{other.extension}" for other in sample.members.values())
            raise VectorFileError(
                f"sample {sample.key!r} (position {position}) of {tar!r} has no member .{extension}; there are {there}"
            )
        size = (members or [member])[0].size
        if member.size != size or size % NUMBER.itemsize or not size:
            expected = f"{size} bytes, as the first sample's" if members else "4 bytes for every float32 number"
            raise VectorFileError(
                f"the vector {sample.key}.{extension} (position {position}) of {tar!r} has {member.size} bytes; "
                f"expected {expected}"
            )
        members.append(member)
    return members


def _read(stream: BinaryIO, tar: str, offsets: NDArray[np.int64], dim: int, rows: Rows) -> Vectors:
    out = np.empty((len(rows), dim), NUMBER)
    for row, offset in zip(out, offsets[rows].tolist(), strict=True):
        if os.preadv(stream.fileno(), [row.data], offset) != row.nbytes:
            raise VectorFileError(f"{tar!r} was cut short while it was read")
    return out


def _caption_hashes(
    photos: BinaryIO, image: str, images: Sequence[Sample], caption_fields: Sequence[str]
) -> dict[str, NDArray[np.uint64]]:
    """Of the captions in the samples' json; unknown where there is none at the caption field."""
    hashes = {field: unknown_captions(len(images)) for field in caption_fields}
    for row, sample in enumerate(images):
        member = sample.members.get("json")
        if member is None:
            continue
        values = load_json(os.pread(photos.fileno(), member.size, member.offset), sample.key, image)
        for field in caption_fields:
            with contextlib.suppress(CaptionFieldError):
                caption = caption_at(values, field)
                if caption is not None:
                    hashes[field][row] = store.caption_hash(caption)
    return hashes

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
from store.sources.shards import caption_at, expand_shards, load_json, shard_name
from tools.interop.columns import Column, Rows, Source, Vectors, unknown_captions
from tools.interop.config import ExportConfig
from tools.interop.exporting import Export
from tools.interop.records import Output, digest, writing
from tools.interop.report import ExportReport
from tools.interop.tars import Member, Sample, check_member_name, end_mark, member_bytes, tar_samples

SUFFIX = "_text_embeddings"
NUMBER = np.dtype("<f4")
_BUFFER_BYTES = 2**20


def sidecar_sources(
    sidecars: Sequence[str], shards: Sequence[str] | None, names: Mapping[str, str], check: bool
) -> list[Source]:
    """Sidecars with the image tars they belong to.

    Args:
        sidecars: files named ``X_text_embeddings.tar``.
        shards: image tars to find ``X.tar`` in; by default it is next to the sidecar.
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
        sources.append(_source(sidecar, image if check else None, name, names))
    return sources


def merged_sources(shards: Sequence[str], names: Mapping[str, str]) -> list[Source]:
    """Image tars that hold the vectors too; ``names`` as caption field -> extension."""
    return [_source(shard, shard, shard_name(shard), names) for shard in shards]


def _source(tar: str, image: str | None, name: str, names: Mapping[str, str]) -> Source:
    return Source(path=tar, name=name, open=partial(_open, tar, image, names))


@contextlib.contextmanager
def _open(tar: str, image: str | None, names: Mapping[str, str]) -> Iterator[Sequence[Column]]:
    samples = images = tar_samples(tar)
    if image is not None and image != tar:
        images = tar_samples(image)
        _require_lock_step(tar, samples, image, images)
    if not samples:
        raise VectorFileError(f"{tar!r} holds no vectors; it has no sample at all")
    names = names or {member.extension: member.extension for member in samples[0].members.values()}
    keys = [sample.key for sample in samples]
    hashes = {field: unknown_captions(len(keys)) for field in names}
    if image is not None:
        _fill_caption_hashes(hashes, image, images)
    with Path(tar).open("rb") as stream:
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
        yield columns


def _require_lock_step(tar: str, samples: Sequence[Sample], image: str, images: Sequence[Sample]) -> None:
    for position, (expected, found) in enumerate(zip_longest(images, samples)):
        if expected is None or found is None or expected.key != found.key:
            expects, has = (f"key {sample.key!r}" if sample else "its end" for sample in (expected, found))
            raise MisalignedError(
                f"{tar!r} does not go with {image!r}: at position {position} (counted from 0) {expects} was expected, "
                f"{has} found; make the sidecar again from this image tar, or import without comparing by --check False"
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


def _fill_caption_hashes(hashes: Mapping[str, NDArray[np.uint64]], image: str, samples: Sequence[Sample]) -> None:
    """Of the captions in the samples' json; where there is none at the caption field, the hash stays unknown."""
    with Path(image).open("rb") as stream:
        for row, sample in enumerate(samples):
            if (member := sample.members.get("json")) is None:
                continue
            values = load_json(os.pread(stream.fileno(), member.size, member.offset), sample.key, image)
            for field, column in hashes.items():
                with contextlib.suppress(CaptionFieldError):
                    if (caption := caption_at(values, field)) is not None:
                        column[row] = store.caption_hash(caption)


def export_tars(config: ExportConfig, fields: Sequence[str], shards: Sequence[str], merged: bool) -> ExportReport:
    """Write a sidecar for each image tar, or with ``merged`` a copy of each with the vectors added to every sample.

    Samples come in the image tar's order. The image tars are only read.

    Raises:
        KeyclipError: a tar, key or vector is not as it must be; the files finished before stay.
    """
    shards = expand_shards(shards)
    with Export(config, fields, "float32", shards) as export:
        outputs = {shard: _output(export, shard, merged) for shard in shards}
        if len({output.path for output in outputs.values()}) < len(shards):
            raise ConfigError("two shards have the same file name; export them to a folder each")
        todo = export.unwritten(list(outputs.values()))
        for shard, output in outputs.items():
            if output not in todo:
                continue
            samples = [s for s in tar_samples(shard) if export.listed is None or s.key in export.listed]
            samples = [samples[row] for row in export.covered([sample.key for sample in samples], repr(shard))]
            _require_free_names(export, samples, shard if merged else None)
            with writing(output) as path, path.open("wb", buffering=_BUFFER_BYTES) as file:
                for data in _members(export, samples, shard if merged else None):
                    file.write(data)
                file.write(end_mark(file.tell()))
    return export.report


def _output(export: Export, shard: str, merged: bool) -> Output:
    status, config = Path(shard).stat(), export.config
    made_from = {
        "layout": "merged" if merged else "sidecar",
        "fields": export.made_from,
        "shard": [status.st_size, status.st_mtime_ns],
        "missing": config.missing,
        "keys": digest(config.keys.read_bytes()) if config.keys else None,
    }
    return Output(config.output / f"{shard_name(shard)}{'' if merged else SUFFIX}.tar", made_from)


def _require_free_names(export: Export, samples: Sequence[Sample], image: str | None) -> None:
    """Raises InvalidKeysError: a key cannot be a member's name; ConfigError: the image tar has the member already."""
    for sample in samples:
        for name, field in export.fields.items():
            check_member_name(sample.key, name)
            if image is not None and name.lower() in sample.members:
                raise ConfigError(
                    f"sample {sample.key!r} of {image!r} has a member .{name.lower()} already; give the field another "
                    f"name: --fields {field.name}=ANOTHER_NAME"
                )


def _members(export: Export, samples: Sequence[Sample], image: str | None) -> Iterator[bytes]:
    """For every sample its members as they are in the image tar, headers and padding included; then its vectors."""
    with Path(image or os.devnull).open("rb") as stream:
        places = iter(samples)
        for keys, columns in export.vectors([sample.key for sample in samples]):
            for row, key in enumerate(keys):
                for m in next(places).members.values() if image else ():
                    yield os.pread(stream.fileno(), m.end - m.start, m.start)
                for name, vectors in zip(export.fields, columns, strict=True):
                    yield member_bytes(f"{key}.{name}", vectors[row].astype(NUMBER, copy=False).tobytes())

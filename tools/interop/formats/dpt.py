"""Evaluation features: ``torch.save`` of one float tensor [images, captions of each, d] or [n, d].

The tensor has no keys. A text file holds them, one a line in the order of the rows, or image shards give them.
"""

import contextlib
import zipfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import store
from embedder.reading.captions import shard_rows
from store.common.errors import ConfigError, InvalidKeysError, MisalignedError, VectorFileError, first_line
from store.common.files import reserve
from store.core.spec import StoredDtype
from store.sources.keylist import is_listable, iter_key_list
from store.sources.shards import expand_shards
from tools.interop.captions import hash_rows
from tools.interop.columns import Column, Rows, Source, Vectors
from tools.interop.config import ExportConfig, FileDtype
from tools.interop.exporting import Export
from tools.interop.records import Output, digest, writing
from tools.interop.report import ExportReport
from tools.prepare.downloaded import files_of

_STORED: dict[torch.dtype, StoredDtype] = {
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.float32: "float32",
    torch.float64: "float32",
}


def keys_file(features: Path) -> Path:
    """Where an export writes the keys of a features file, and an import looks for them."""
    return features.with_suffix(".keys.txt")


def _shard_rows(shards: Sequence[str], caption_fields: Sequence[str]) -> tuple[list[str], NDArray[np.uint64]]:
    """Keys (n,) of the samples of shards, in order, and hashes of their captions (n, caption fields)."""
    rows = [row for shard in expand_shards(shards) for row in shard_rows(shard, caption_fields, "skip")]
    return [key for key, _ in rows], hash_rows([captions for _, captions in rows], len(caption_fields))


def dpt_source(file: Path, caption_fields: Sequence[str], shards: Sequence[str], row_keys: Path | None) -> Source:
    """A features file, whose rows are the samples of ``shards`` or have the keys listed in a file."""
    if shards:
        keys, hashes = _shard_rows(shards, caption_fields)
    else:
        keys = list(iter_key_list(row_keys or keys_file(file)))
        hashes = np.full((len(keys), len(caption_fields)), store.UNKNOWN_CAPTION, np.uint64)
    if not file.is_file():
        raise VectorFileError(f"no such file: {str(file)!r}")
    return Source(path=str(file), name=file.stem, open=partial(_open, file, caption_fields, keys, hashes))


@contextlib.contextmanager
def _open(
    file: Path, caption_fields: Sequence[str], keys: Sequence[str], hashes: NDArray[np.uint64]
) -> Iterator[Sequence[Column]]:
    features = _load(file)
    if features.ndim == 2:
        features = features[:, None]
    if features.ndim != 3 or not features.numel():
        raise VectorFileError(
            f"{str(file)!r} holds a tensor of shape {tuple(features.shape)}; expected [images, captions of each, d] or "
            "[n, d], not empty"
        )
    if len(keys) != len(features):
        raise MisalignedError(f"{str(file)!r} has {len(features)} rows, but there are {len(keys)} keys for them")
    if len(caption_fields) != features.shape[1]:
        raise ConfigError(
            f"{str(file)!r} has {features.shape[1]} captions for each image, but {len(caption_fields)} caption fields "
            "are named; give --caption-fields one name for each, in order"
        )
    yield [
        Column(
            caption_field=caption_field,
            keys=keys,
            dim=features.shape[2],
            dtype=_STORED[features.dtype],
            read=partial(_read, features, number),
            caption_hashes=hashes[:, number],
        )
        for number, caption_field in enumerate(caption_fields)
    ]


def _load(file: Path) -> torch.Tensor:
    """The tensor, mapped from disk; without running any code that the file may hold."""
    try:
        features = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as error:
        reason = first_line(error)
        if "weights only" in reason.lower():
            reason = "it holds pickled objects of other kinds, which are never loaded"
        raise VectorFileError(
            f"{str(file)!r} cannot be read as features: {reason:.200}; expected torch.save of one float tensor"
        ) from error
    if not isinstance(features, torch.Tensor):
        raise VectorFileError(f"{str(file)!r} holds a {type(features).__name__}; expected one float tensor")
    named = f"{str(file)!r} holds a tensor of"
    if features.is_nested or features.is_meta or features.layout != torch.strided or features.dtype not in _STORED:
        kind = "nested" if features.is_nested else "meta" if features.is_meta else str(features.layout)
        raise VectorFileError(f"{named} {features.dtype}, {kind}; expected a dense float tensor")
    if features.numel() * features.element_size() > features.untyped_storage().nbytes():
        raise VectorFileError(
            f"{named} shape {tuple(features.shape)} with fewer numbers than that; expected a dense float tensor"
        )
    return features.detach()


def _read(features: torch.Tensor, number: int, rows: Rows) -> Vectors:
    vectors = features[torch.from_numpy(rows), number]
    return (vectors.float() if vectors.dtype == torch.bfloat16 else vectors).numpy()


def export_dpt(
    config: ExportConfig, fields: Sequence[str], dtype: FileDtype, shards: Sequence[str], row_keys: Path | None
) -> ExportReport:
    """Write the fields' vectors as one tensor, [n, d] for a single field, and their keys next to it.

    Args:
        shards, row_keys: image shards, or a list of keys, that give the order of the rows; by default the store's.

    Raises:
        KeyclipError: fields of different widths, a missing vector, or a file in the way.
    """
    with Export(config, fields, dtype, [row_keys, *files_of(shards)]) as export:
        wanted = list(iter_key_list(row_keys)) if row_keys else None
        if shards:
            wanted, _ = _shard_rows(shards, ())
        dims = {name: field.spec.dim for name, field in export.fields.items()}
        if len(set(dims.values())) > 1:
            raise ConfigError(f"fields of one tensor must have one width, but they differ: {dims}")
        keys = [key for part in export.key_parts(keys=wanted) for key in part]
        if odd := next((key for key in keys if not is_listable(key)), None):
            raise InvalidKeysError(f"key {odd!r} does not fit on a line of {str(keys_file(config.output))!r}")
        lines = "".join(f"{key}\n" for key in keys).encode()
        made_from = {"layout": "dpt", "fields": export.made_from, "dtype": export.dtype, "keys": digest(lines)}
        names, features = Output(keys_file(config.output), made_from), Output(config.output, made_from)
        todo = export.unwritten([names, features])
        if names in todo:
            with writing(names) as path:
                path.write_bytes(lines)
        if features in todo:
            with writing(features) as path:
                _save(path, export, keys, (len(keys), len(dims), next(iter(dims.values()))))
        export.report.num_files = int(features in todo)  # the file of keys is not counted
        export.report.num_files_before = int(features not in todo)
    return export.report


def _save(path: Path, export: Export, keys: Sequence[str], shape: tuple[int, int, int]) -> None:
    """The tensor is gathered in a file, so that it may be larger than memory."""
    if not len(keys):
        raise ConfigError("there is no key to export; the fields are empty, or the key list has none of their keys")
    gathered = np.memmap(path.with_name("gathered"), export.dtype, "w+", shape=shape)
    reserve(path.with_name("gathered"), gathered.nbytes)  # a disk that fills up under a mapping would end the process
    path.touch()
    reserve(path, gathered.nbytes)
    done = 0
    for some, columns in export.vectors(keys):
        for place, vectors in enumerate(columns):
            gathered[done : done + len(some), place] = vectors
        done += len(some)
    tensor = torch.from_numpy(gathered)
    torch.save(tensor[:, 0] if shape[1] == 1 else tensor, path)

"""Vectors into tars as LLM2CLIP and ProCLIP read them; image tars are only read."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from store.common.errors import ConfigError
from store.sources.keylist import read_keys
from store.sources.shards import shard_name
from tools.interop.config import ExportConfig
from tools.interop.exporting import Selection, bar
from tools.interop.formats.sidecar import NUMBER, SUFFIX
from tools.interop.records import Output, digest, unwritten, writing
from tools.interop.report import ExportReport
from tools.interop.tars import Sample, check_member_name, end_mark, header, padding, tar_samples

_BUFFER_BYTES = 2**20


def export_tars(config: ExportConfig, selection: Selection, shards: Sequence[str], merged: bool) -> ExportReport:
    """Write a sidecar for each image tar, or with ``merged`` a copy of each with the vectors added to every sample.

    A sample has a member ``KEY.NAME`` per field: float32, little-endian. Samples come in the image tar's order.

    Raises:
        KeyclipError: a tar, key or vector is not as it must be; the files finished before stay.
    """
    report = ExportReport(str(config.output))
    started = time.perf_counter()
    listed = read_keys(config.keys) if config.keys else None
    outputs = {_output(config, selection, shard, merged).path: shard for shard in shards}
    if len(outputs) < len(shards):
        raise ConfigError("two shards have the same file name; export them to a folder each")
    inputs = [selection.path, config.keys, *shards]
    todo = unwritten([_output(config, selection, shard, merged) for shard in shards], config.overwrite, inputs)
    report.num_files_before = len(shards) - len(todo)
    with bar(config, len(todo), " files") as progress:
        for output in todo:
            shard = outputs[output.path]
            samples = [s for s in tar_samples(shard) if listed is None or s.key in listed]
            covered = selection.covered([sample.key for sample in samples], repr(shard))
            report.left_out += len(samples) - int(covered.sum())
            samples = [samples[row] for row in np.flatnonzero(covered).tolist()]
            _require_free_names(selection, samples, shard if merged else None)
            with writing(output) as path, path.open("wb", buffering=_BUFFER_BYTES) as file:
                _write(file, selection, samples, shard if merged else None)
            report.num_files += 1
            report.num_vectors += len(samples) * len(selection.fields)
            progress.update()
    report.seconds = time.perf_counter() - started
    return report


def _output(config: ExportConfig, selection: Selection, shard: str, merged: bool) -> Output:
    name = f"{shard_name(shard)}{'' if merged else SUFFIX}.tar"
    path = config.output / name
    status = Path(shard).stat()
    made_from = {
        "layout": "merged" if merged else "sidecar",
        "fields": selection.made_from,
        "shard": [status.st_size, status.st_mtime_ns],
        "missing": selection.missing,
        "keys": digest(config.keys.read_bytes()) if config.keys else None,
    }
    return Output(path, made_from)


def _require_free_names(selection: Selection, samples: Sequence[Sample], image: str | None) -> None:
    """Raises InvalidKeysError: a key cannot be a member's name; ConfigError: the image tar has the member already."""
    for sample in samples:
        for name in selection.fields:
            check_member_name(sample.key, name)
            if image is not None and name.lower() in sample.members:
                raise ConfigError(
                    f"sample {sample.key!r} of {image!r} has a member .{name.lower()} already; give the field another "
                    f"name: --fields {selection.fields[name].name}=ANOTHER_NAME"
                )


def _write(file: BinaryIO, selection: Selection, samples: Sequence[Sample], image: str | None) -> None:
    position = 0
    photos = _members(samples, image) if image is not None else None
    for keys, columns in selection.vectors([sample.key for sample in samples], "float32"):
        for row, key in enumerate(keys):
            parts = list(next(photos)) if photos else []
            for name, vectors in zip(selection.fields, columns, strict=True):
                vector = vectors[row].astype(NUMBER, copy=False)
                parts += [header(f"{key}.{name}", vector.nbytes), vector.data, padding(vector.nbytes)]
            for part in parts:
                position += file.write(part)
    file.write(end_mark(position))


def _members(samples: Sequence[Sample], image: str) -> Iterator[list[bytes]]:
    """For every sample its members as they stand in the image tar, headers and padding included."""
    with Path(image).open("rb") as stream:
        for sample in samples:
            yield [os.pread(stream.fileno(), m.end - m.start, m.start) for m in sample.members.values()]

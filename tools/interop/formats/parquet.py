"""Parquet files of keyed vectors: a text column of keys and columns of float lists."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from store.common.errors import VectorFileError
from tools.interop.columns import Source, VectorFile
from tools.interop.config import ExportConfig
from tools.interop.exporting import Selection, bar, exported_dtype, key_parts
from tools.interop.records import Output, unwritten, writing
from tools.interop.report import ExportReport
from tools.interop.tables import (
    HASH,
    KEY,
    READ_ROWS,
    Batches,
    damage_is_told,
    export_batches,
    export_schema,
    guarded,
    vector_columns,
)

ROW_GROUP_BYTES = 2**24
"""Size of a row group, about: readers decode one at a time."""


@contextlib.contextmanager
def open_parquet(path: str) -> Iterator[pq.ParquetFile]:
    """A file that is decoded in pieces, however large its row groups are.

    Raises:
        VectorFileError: it is absent or damaged, here or while it is read.
    """
    if not Path(path).is_file():
        raise VectorFileError(f"no such file: {path!r}")
    with damage_is_told(path, "parquet"):
        opened = pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20)
    with opened as file:
        yield file


def batches_of(path: str, file: pq.ParquetFile) -> Batches:
    """Reads some columns of a file from its first row on; raises VectorFileError where it is damaged."""
    return guarded(path, "parquet", lambda columns: file.iter_batches(READ_ROWS, columns=list(columns)))


def parquet_sources(files: Sequence[str], key_name: str, names: Mapping[str, str]) -> list[Source]:
    """Parquet files; ``names`` as caption field -> column, by default every column of float lists."""
    sources = []
    for file in files:
        opener = partial(_open, file, key_name, dict(names))
        sources.append(Source(path=file, num_bytes=Path(file).stat().st_size, open=opener))
    return sources


@contextlib.contextmanager
def _open(path: str, key_name: str, names: dict[str, str]) -> Iterator[VectorFile]:
    with open_parquet(path) as file:
        columns = vector_columns(path, file.schema_arrow, batches_of(path, file), key_name, names)
        yield VectorFile(path=path, name=Path(path).stem, columns=columns)


def export_parquet(config: ExportConfig, selection: Selection, dtype: str | None, rows_per_file: int) -> ExportReport:
    """Write files ``00000.parquet``, ... with keys, vectors and caption hashes, in the store's order.

    Raises:
        KeyclipError: a missing vector, or a file in the way; the files finished before stay.
    """
    report = ExportReport(str(config.output))
    started = time.perf_counter()
    number = exported_dtype(selection, dtype)
    schema = export_schema(selection, number)
    with bar(config, None, " keys") as progress:
        for part in key_parts(selection, config, rows_per_file, report):
            made_from = {"fields": selection.made_from, "dtype": number.name, "keys": part.made_from}
            output = Output(config.output / f"{part.number:05d}.parquet", made_from)
            if not unwritten([output], config.overwrite, [selection.path, config.keys]):
                report.num_files_before += 1
                continue
            with writing(output) as path:
                write_parquet(path, schema, export_batches(selection, part.keys, schema, number))
            report.num_files += 1
            report.num_vectors += len(part.keys) * len(selection.fields)
            progress.update(len(part.keys))
    report.seconds = time.perf_counter() - started
    return report


def write_parquet(path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    """Vectors without compression or dictionary, which only cost time on float numbers."""
    kinds = {field.name: field.type for field in schema if pa.types.is_fixed_size_list(field.type)}
    row_bytes = sum(kind.list_size * kind.value_type.bit_width // 8 for kind in kinds.values())
    rows_per_group = max(READ_ROWS, ROW_GROUP_BYTES // row_bytes)
    compression = {f"{name}.list.element": "NONE" for name in kinds} | {KEY: "ZSTD"}
    compression |= {HASH.format(name): "NONE" for name in kinds}
    with pq.ParquetWriter(path, schema, compression=compression, use_dictionary=False, write_statistics=False) as file:
        held: list[pa.RecordBatch] = []
        for batch in batches:
            held.append(batch)
            if sum(len(each) for each in held) >= rows_per_group:
                file.write_table(pa.Table.from_batches(held))
                held.clear()
        if held:
            file.write_table(pa.Table.from_batches(held))

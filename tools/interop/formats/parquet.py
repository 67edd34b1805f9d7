"""Parquet files of keyed vectors."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from store.common.errors import VectorFileError
from store.core.batch import join_keys
from tools.interop.arrow import HASH, KEY, Table, one_sentence, table_source, to_arrow
from tools.interop.columns import Source
from tools.interop.config import ExportConfig, FileDtype
from tools.interop.exporting import READ_ROWS, Export
from tools.interop.records import Output, digest, writing
from tools.interop.report import ExportReport

ROW_GROUP_BYTES = 2**24
"""Size of a row group, about: readers decode one at a time."""


@contextlib.contextmanager
def open_parquet(path: str) -> Iterator[Table]:
    """A file that is decoded in pieces, however large its row groups are.

    Raises:
        VectorFileError: it is absent or damaged, here or while it is read.
    """
    if not Path(path).is_file():
        raise VectorFileError(f"no such file: {path!r}")
    with one_sentence(path, "parquet"):
        opened = pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20)
    with opened as file:
        yield Table(path, "parquet", file.schema_arrow, lambda names: file.iter_batches(READ_ROWS, columns=names))


def parquet_source(path: str, key_column: str, names: Mapping[str, str]) -> Source:
    """A Parquet file to import; see :func:`table_source`."""
    return table_source(open_parquet, path, key_column, names)


def export_parquet(config: ExportConfig, fields: Sequence[str], dtype: FileDtype, rows_per_file: int) -> ExportReport:
    """Write files ``00000.parquet``, ... with keys, vectors and caption hashes, in the store's order.

    Raises:
        KeyclipError: a missing vector, or a file in the way; the files finished before stay.
    """
    with Export(config, fields, dtype) as export:
        for number, keys in enumerate(export.key_parts(rows_per_file)):
            made_from = {"fields": export.made_from, "dtype": export.dtype, "keys": digest(join_keys(keys))}
            for output in export.unwritten([Output(config.output / f"{number:05d}.parquet", made_from)]):
                with writing(output) as path:
                    _write(path, to_arrow(export.fields, export.counted(keys), export.dtype))
    return export.report


def _write(path: Path, batches: pa.RecordBatchReader) -> None:
    """Vectors without compression or dictionary, which only cost time on float numbers."""
    kinds = {field.name: field.type for field in batches.schema if pa.types.is_fixed_size_list(field.type)}
    row_bytes = sum(kind.list_size * kind.value_type.bit_width // 8 for kind in kinds.values())
    batches_per_group = -(-max(READ_ROWS, ROW_GROUP_BYTES // row_bytes) // READ_ROWS)
    compression = {f"{name}.list.element": "NONE" for name in kinds} | {KEY: "ZSTD"}
    compression |= {HASH.format(name): "NONE" for name in kinds}
    options = {"compression": compression, "use_dictionary": False, "write_statistics": False}
    with pq.ParquetWriter(path, batches.schema, **options) as file:
        while held := list(islice(batches, batches_per_group)):
            file.write_table(pa.Table.from_batches(held))

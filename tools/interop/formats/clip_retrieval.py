"""clip-retrieval's folders, which embedding-reader reads: numbered matrices and, row by row, their metadata.

text_emb/text_emb_0.npy  metadata/metadata_0.parquet  (and img_emb/img_emb_0.npy)
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from store.common.errors import MisalignedError, VectorFileError, first_line
from store.core.batch import join_keys
from tools.interop.arrow import KEY, with_made_by
from tools.interop.captions import hash_rows
from tools.interop.columns import Column, Rows, Source, Vectors, stored_as
from tools.interop.config import Embeddings, ExportConfig, FileDtype
from tools.interop.exporting import Export
from tools.interop.formats.parquet import open_parquet
from tools.interop.records import Output, digest, writing
from tools.interop.report import ExportReport

METADATA = "metadata"
CAPTION_HASH = "caption_hash"
"""Column of the metadata that the export writes, and the import understands."""


def clip_retrieval_sources(
    folder: Path, embeddings: Embeddings, caption_field: str, key_column: str, caption_column: str | None
) -> list[Source]:
    """The numbered pairs of a folder.

    Args:
        key_column: column of the metadata with the keys.
        caption_column: column with the captions that were embedded; None: they are not known.

    Raises:
        VectorFileError: the folder has no such matrices.
        MisalignedError: a matrix has no metadata, or metadata no matrix.
    """
    matrices = _numbered(folder / embeddings, f"{embeddings}_", ".npy")
    metadata = _numbered(folder / METADATA, f"{METADATA}_", ".parquet")
    if not matrices:
        raise VectorFileError(
            f"{str(folder)!r} has no {embeddings}/{embeddings}_0.npy; expected a clip-retrieval folder"
        )
    if odd := sorted(matrices.keys() ^ metadata.keys()):
        lacks = METADATA if odd[0] in matrices else embeddings
        raise MisalignedError(f"{str(folder)!r} has no {lacks} number {odd[0]}, though its counterpart is there")
    columns = (caption_field, key_column, caption_column)
    return [
        Source(path=str(matrix), name=matrix.stem, open=partial(_open, matrix, str(metadata[number]), *columns))
        for number, matrix in sorted(matrices.items())
    ]


def _numbered(folder: Path, start: str, end: str) -> dict[int, Path]:
    found = {file: re.fullmatch(rf"{start}(\d+){re.escape(end)}", file.name) for file in folder.glob(f"*{end}")}
    return {int(match[1]): file for file, match in found.items() if match}


@contextlib.contextmanager
def _open(
    matrix: Path, metadata: str, caption_field: str, key_column: str, caption_column: str | None
) -> Iterator[Sequence[Column]]:
    vectors = _load(matrix)
    with open_parquet(metadata) as table:
        keys = table.keys(key_column)
        hashes = table.caption_hashes(CAPTION_HASH, len(keys))
        if caption_column is not None:
            hashes = hash_rows([[caption] for caption in table.texts(caption_column)], 1)[:, 0]
        made_by = next(iter(table.made_by().values()), None)
    if len(keys) != len(vectors):
        raise MisalignedError(
            f"{str(matrix)!r} has {len(vectors)} rows, its metadata {metadata!r} {len(keys)}; expected a row for each "
            "vector"
        )
    yield [
        Column(
            caption_field=caption_field,
            keys=keys,
            dim=vectors.shape[1],
            dtype=stored_as(vectors.dtype),
            read=partial(_read, vectors),
            caption_hashes=hashes,
            made_by=made_by,
        )
    ]


def _load(matrix: Path) -> Vectors:
    """The matrix, mapped from disk; never with pickled objects."""
    if not matrix.is_file():
        raise VectorFileError(f"{str(matrix)!r} is not a file; expected a matrix of numbers")
    try:
        vectors = np.lib.format.open_memmap(matrix, mode="r")
    except (ValueError, OverflowError, OSError) as error:
        raise VectorFileError(
            f"{str(matrix)!r} cannot be read as a matrix of numbers: {first_line(error):.200}"
        ) from error
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or not vectors.size:
        raise VectorFileError(
            f"{str(matrix)!r} holds {vectors.dtype} of shape {vectors.shape}; expected a matrix (n, d) of float "
            "numbers, not empty"
        )
    return vectors


def _read(vectors: Vectors, rows: Rows) -> Vectors:
    return vectors[rows].astype(vectors.dtype.newbyteorder("="), copy=False)


def export_clip_retrieval(
    config: ExportConfig, field: str, dtype: FileDtype, rows_per_file: int, embeddings: Embeddings
) -> ExportReport:
    """Write one field as numbered pairs of matrix and metadata (keys and caption hashes), in the store's order.

    Raises:
        KeyclipError: a missing vector, or a file in the way; the files finished before stay.
    """
    with Export(config, [field], dtype) as export:
        (exported,) = export.fields.values()
        for number, keys in enumerate(export.key_parts(rows_per_file)):
            made_from = {"field": export.made_from, "dtype": export.dtype, "keys": digest(join_keys(keys))}
            metadata = Output(config.output / METADATA / f"{METADATA}_{number}.parquet", made_from)
            matrix = Output(config.output / embeddings / f"{embeddings}_{number}.npy", made_from)
            todo = export.unwritten([metadata, matrix])
            if metadata in todo:
                with writing(metadata) as path:
                    table = pa.table({KEY: keys, CAPTION_HASH: exported.caption_hashes(keys)})
                    pq.write_table(table.cast(with_made_by(table.schema, export.fields)), path)
            if matrix in todo:
                with writing(matrix) as path:
                    _write(path, export, keys, (len(keys), exported.spec.dim))
    return export.report


def _write(path: Path, export: Export, keys: list[str], shape: tuple[int, int]) -> None:
    descr = np.lib.format.dtype_to_descr(np.dtype(export.dtype))
    with path.open("wb", buffering=2**20) as file:
        np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
        for _, (vectors,) in export.vectors(keys):
            file.write(vectors.data)

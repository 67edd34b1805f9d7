"""clip-retrieval's folders, which embedding-reader reads: numbered matrices and, row by row, their metadata.

text_emb/text_emb_0.npy  metadata/metadata_0.parquet  (and img_emb/img_emb_0.npy)
"""

import contextlib
import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from store.common.errors import ConfigError, MisalignedError, VectorFileError
from tools.interop.captions import hash_rows
from tools.interop.columns import Column, Rows, Source, VectorFile, Vectors, stored_as
from tools.interop.config import ExportConfig
from tools.interop.exporting import KeyPart, Selection, bar, exported_dtype, key_parts
from tools.interop.formats.parquet import batches_of, open_parquet
from tools.interop.records import Output, unwritten, writing
from tools.interop.report import ExportReport
from tools.interop.tables import KEY, caption_hashes, key_column, read_made_by, text_column, with_made_by

Embeddings = Literal["text_emb", "img_emb"]
METADATA = "metadata"
CAPTION_HASH = "caption_hash"
"""Column of the metadata that the export writes, and the import understands."""


def clip_retrieval_sources(
    folder: Path, embeddings: Embeddings, caption_field: str, key_name: str, caption_name: str | None
) -> list[Source]:
    """The numbered pairs of a folder.

    Args:
        key_name: column of the metadata with the keys.
        caption_name: column with the captions that were embedded; None: they are not known.

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
    sources = []
    for number, matrix in sorted(matrices.items()):
        opener = partial(_open, matrix, metadata[number], caption_field, key_name, caption_name)
        sources.append(Source(path=str(matrix), num_bytes=matrix.stat().st_size, open=opener))
    return sources


def _numbered(folder: Path, start: str, end: str) -> dict[int, Path]:
    found = {file: re.fullmatch(rf"{start}(\d+){re.escape(end)}", file.name) for file in folder.glob(f"*{end}")}
    return {int(match[1]): file for file, match in found.items() if match}


@contextlib.contextmanager
def _open(
    matrix: Path, metadata: Path, caption_field: str, key_name: str, caption_name: str | None
) -> Iterator[VectorFile]:
    vectors = _load(matrix)
    with open_parquet(str(metadata)) as file:
        read = batches_of(str(metadata), file)
        keys = key_column(str(metadata), key_name, file.schema_arrow, read)
        hashes = caption_hashes(file.schema_arrow, read, CAPTION_HASH, len(keys))
        if caption_name is not None:
            captions = text_column(str(metadata), caption_name, file.schema_arrow, read)
            hashes = hash_rows([[caption] for caption in captions], 1)[:, 0]
        made_by = next(iter(read_made_by(str(metadata), file.schema_arrow).values()), None)
    if len(keys) != len(vectors):
        raise MisalignedError(
            f"{str(matrix)!r} has {len(vectors)} rows, its metadata {str(metadata)!r} {len(keys)}; expected a row for "
            "each vector"
        )
    column = Column(
        caption_field=caption_field,
        keys=keys,
        dim=vectors.shape[1],
        dtype=stored_as(vectors.dtype),
        read=partial(_read, vectors),
        caption_hashes=hashes,
        made_by=made_by,
    )
    yield VectorFile(path=str(matrix), name=matrix.stem, columns=[column])


def _load(matrix: Path) -> Vectors:
    """The matrix, mapped from disk; never with pickled objects."""
    if not matrix.is_file():
        raise VectorFileError(f"{str(matrix)!r} is not a file; expected a matrix of numbers")
    try:
        vectors = np.lib.format.open_memmap(matrix, mode="r")
    except (ValueError, OverflowError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise VectorFileError(f"{str(matrix)!r} cannot be read as a matrix of numbers: {reason:.200}") from error
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or not vectors.size:
        raise VectorFileError(
            f"{str(matrix)!r} holds {vectors.dtype} of shape {vectors.shape}; expected a matrix (n, d) of float "
            "numbers, not empty"
        )
    return vectors


def _read(vectors: Vectors, rows: Rows) -> Vectors:
    return vectors[rows].astype(vectors.dtype.newbyteorder("="), copy=False)


def export_clip_retrieval(
    config: ExportConfig, selection: Selection, dtype: str | None, rows_per_file: int, embeddings: Embeddings
) -> ExportReport:
    """Write one field as numbered pairs of matrix and metadata (keys and caption hashes), in the store's order.

    Raises:
        KeyclipError: more than one field, a missing vector, or a file in the way; the files finished before stay.
    """
    if len(selection.fields) != 1:
        raise ConfigError(f"a clip-retrieval folder holds one field, but {len(selection.fields)} are named")
    (field,) = selection.fields.values()
    report = ExportReport(str(config.output))
    started = time.perf_counter()
    number = exported_dtype(selection, dtype)
    with bar(config, None, " keys") as progress:
        for part in key_parts(selection, config, rows_per_file, report):
            made_from = {"field": selection.made_from, "dtype": number.name, "keys": part.made_from}
            metadata = Output(config.output / METADATA / f"{METADATA}_{part.number}.parquet", made_from)
            matrix = Output(config.output / embeddings / f"{embeddings}_{part.number}.npy", made_from)
            todo = unwritten([metadata, matrix], config.overwrite, [selection.path, config.keys])
            if metadata in todo:
                with writing(metadata) as path:
                    hashes = field.caption_hashes(part.keys)
                    table = pa.table({KEY: part.keys, CAPTION_HASH: hashes})
                    pq.write_table(table.cast(with_made_by(table.schema, selection)), path)
            if matrix in todo:
                with writing(matrix) as path:
                    _write(path, selection, part, number, field.spec.dim)
                report.num_vectors += len(part.keys)
            report.num_files += len(todo)
            report.num_files_before += 2 - len(todo)
            progress.update(len(part.keys))
    report.seconds = time.perf_counter() - started
    return report


def _write(path: Path, selection: Selection, part: KeyPart, number: np.dtype[Any], dim: int) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(number), "fortran_order": False, "shape": (len(part.keys), dim)}
    with path.open("wb", buffering=2**20) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for _, (vectors,) in selection.vectors(part.keys, number.name):
            file.write(vectors.data)

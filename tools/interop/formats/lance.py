"""Lance datasets of keyed vectors; needs the package pylance."""

import contextlib
import importlib.util
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa

from store.common.errors import ConfigError, VectorFileError
from tools.interop.columns import Source, VectorFile
from tools.interop.config import ExportConfig
from tools.interop.exporting import Selection, bar, exported_dtype, key_parts
from tools.interop.records import Output, unwritten, writing
from tools.interop.report import ExportReport
from tools.interop.tables import READ_ROWS, damage_is_told, export_batches, export_schema, guarded, vector_columns


def require_lance() -> ModuleType:
    """The package, loaded.

    Raises:
        ConfigError: it is not installed.
    """
    if importlib.util.find_spec("lance") is None:
        raise ConfigError("Lance datasets need the package pylance; install it with: pip install 'keyclip[lance]'")
    import lance

    return lance


def lance_source(path: str, key_name: str, names: Mapping[str, str]) -> Source:
    """A dataset; ``names`` as caption field -> column, by default every column of float lists."""
    if not Path(path).is_dir():
        raise VectorFileError(f"no such dataset: {path!r}; expected the folder of a Lance dataset")
    num_bytes = sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())
    return Source(path=path, num_bytes=num_bytes, open=partial(_open, path, key_name, dict(names)))


@contextlib.contextmanager
def _open(path: str, key_name: str, names: dict[str, str]) -> Iterator[VectorFile]:
    lance: Any = require_lance()
    with damage_is_told(path, "a Lance dataset"):
        dataset = lance.dataset(path)

    def scan(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        return iter(dataset.to_batches(columns=list(columns), batch_size=READ_ROWS, scan_in_order=True))

    columns = vector_columns(path, dataset.schema, guarded(path, "a Lance dataset", scan), key_name, names)
    yield VectorFile(path=path, name=Path(path).stem, columns=columns)


def export_lance(config: ExportConfig, selection: Selection, dtype: str | None) -> ExportReport:
    """Write one dataset with keys, vectors and caption hashes, in the store's order.

    Raises:
        KeyclipError: a missing vector, or something in the way.
    """
    lance: Any = require_lance()
    report = ExportReport(str(config.output))
    started = time.perf_counter()
    if dotted := next((name for name in selection.fields if "." in name), None):
        field = selection.fields[dotted].name
        raise ConfigError(
            f"Lance takes no dots in names; rename {dotted!r}: --fields {field}={dotted.replace('.', '_')}"
        )
    number = exported_dtype(selection, dtype)
    schema = export_schema(selection, number)
    parts = list(key_parts(selection, config, 100_000, report))
    made_from = {"fields": selection.made_from, "dtype": number.name, "keys": [part.made_from for part in parts]}
    output = Output(config.output, made_from)
    if not unwritten([output], config.overwrite, [selection.path, config.keys]):
        report.num_files_before = 1
        return report
    with bar(config, sum(len(part.keys) for part in parts), " keys") as progress, writing(output) as path:

        def rows() -> Iterator[pa.RecordBatch]:
            for part in parts:
                for batch in export_batches(selection, part.keys, schema, number):
                    yield batch
                    progress.update(len(batch))

        lance.write_dataset(pa.RecordBatchReader.from_batches(schema, rows()), str(path))
    report.num_files = 1
    report.num_vectors = sum(len(part.keys) for part in parts) * len(selection.fields)
    report.seconds = time.perf_counter() - started
    return report

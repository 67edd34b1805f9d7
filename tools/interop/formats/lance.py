"""Lance datasets of keyed vectors, through Arrow; needs the package pylance."""

import contextlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from store.common.errors import ConfigError, VectorFileError
from store.core.batch import join_keys
from tools.interop.arrow import Table, one_sentence, table_source, to_arrow
from tools.interop.columns import Source
from tools.interop.config import ExportConfig, FileDtype
from tools.interop.exporting import Export
from tools.interop.records import Output, digest, writing
from tools.interop.report import ExportReport


def require_lance() -> Any:
    """The package, loaded. Raises: ConfigError: it is not installed."""
    if importlib.util.find_spec("lance") is None:
        raise ConfigError("Lance datasets need the package pylance; install it with: pip install 'keyclip[lance]'")
    return importlib.import_module("lance")


def lance_source(path: str, key_column: str, names: Mapping[str, str]) -> Source:
    """A dataset to import; see :func:`table_source`."""
    if not Path(path).is_dir():
        raise VectorFileError(f"no such dataset: {path!r}; expected the folder of a Lance dataset")
    return table_source(_open, path, key_column, names)


@contextlib.contextmanager
def _open(path: str) -> Iterator[Table]:
    lance = require_lance()
    with one_sentence(path, "a Lance dataset"):
        dataset = lance.dataset(path)
    yield Table.of(dataset, path, "a Lance dataset")


def export_lance(config: ExportConfig, fields: Sequence[str], dtype: FileDtype) -> ExportReport:
    """Write one dataset with keys, vectors and caption hashes, in the store's order.

    Raises:
        KeyclipError: a missing vector, or something in the way.
    """
    lance = require_lance()
    with Export(config, fields, dtype) as export:
        if dotted := next((name for name in export.fields if "." in name), None):
            renamed = f"{export.fields[dotted].name}={dotted.replace('.', '_')}"
            raise ConfigError(f"Lance takes no dots in names; rename {dotted!r}: --fields {renamed}")
        parts = list(export.key_parts())
        digests = [digest(join_keys(part)) for part in parts]
        made_from = {"fields": export.made_from, "dtype": export.dtype, "keys": digests}
        for output in export.unwritten([Output(config.output, made_from)]):
            with writing(output) as path:
                keys = export.counted(chain.from_iterable(parts))
                lance.write_dataset(to_arrow(export.fields, keys, export.dtype), str(path))
    return export.report

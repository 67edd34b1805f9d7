"""``keyclip vectors export parquet``: fields as Parquet files."""

from dataclasses import dataclass
from typing import Literal

from store.common.settings import Count, Positional
from tools.interop.config import ExportConfig
from tools.interop.exporting import select
from tools.interop.formats.parquet import export_parquet


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(ExportConfig):
    """Export fields as Parquet files 00000.parquet, ... with a column key, and per field NAME and NAME_caption_hash.

    Rows are in the store's order. NAME is the field's caption field unless given; vectors are lists of fixed length.

    Example:
        keyclip vectors export parquet cc3m.store --fields llama/shortSV_captions=short --output cc3m-vectors
    """

    store: Positional[str]
    """Folder or URL of the store."""
    fields: tuple[str, ...]
    """FIELD or FIELD=NAME: the fields to export."""
    dtype: Literal["float16", "float32"] | None = None
    """Numbers of the file. Default: float16 where the store has them so, else float32."""
    rows_per_file: Count = 100_000
    """Rows in a file, at most."""


def run(config: Config) -> None:
    """Export and report."""
    selection = select(config.store, config.fields, config.missing)
    report = export_parquet(config, selection, config.dtype, config.rows_per_file)
    print(report.as_json() if config.json else report)

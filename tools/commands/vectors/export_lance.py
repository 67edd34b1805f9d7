"""``keyclip vectors export lance``: fields as a Lance dataset."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from store.common.settings import Positional
from tools.interop.config import ExportConfig
from tools.interop.exporting import select
from tools.interop.formats.lance import export_lance


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(ExportConfig):
    """Export fields as a Lance dataset with a column key, and per field NAME and NAME_caption_hash.

    Needs the package pylance: pip install 'keyclip[lance]'. Rows are in the store's order. NAME is the field's caption
    field unless given; Lance takes no dots in it.

    Example:
        keyclip vectors export lance cc3m.store --fields llama/shortSV_captions --output cc3m.lance
    """

    store: Positional[str]
    """Folder or URL of the store."""
    fields: tuple[str, ...]
    """FIELD or FIELD=NAME: the fields to export."""
    output: Path
    """Folder of the new dataset."""
    dtype: Literal["float16", "float32"] | None = None
    """Numbers of the file. Default: float16 where the store has them so, else float32."""


def run(config: Config) -> None:
    """Export and report."""
    report = export_lance(config, select(config.store, config.fields, config.missing), config.dtype)
    print(report.as_json() if config.json else report)

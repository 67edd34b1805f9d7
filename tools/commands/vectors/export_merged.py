"""``keyclip vectors export merged``: copies of image tars that hold the vectors too."""

from dataclasses import dataclass

from store.common.settings import Positional
from store.sources.shards import expand_shards
from tools.interop.config import ExportConfig
from tools.interop.exporting import select
from tools.interop.formats.tar_export import export_tars


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(ExportConfig):
    """Export fields into copies of image tars: each sample's own members, byte by byte, then KEY.NAME per field.

    The image tars are only read. NAME is the field's caption field unless given; vectors are float32 numbers.

    Example:
        keyclip vectors export merged cc3m.store --fields llama/shortSV_captions llama/longSV_captions
            --shards 'cc3m/{00000..00331}.tar' --output cc3m-merged
    """

    store: Positional[str]
    """Folder or URL of the store."""
    fields: tuple[str, ...]
    """FIELD or FIELD=NAME: the fields to export."""
    shards: tuple[str, ...]
    """Image tars: paths, globs, brace ranges, or @FILE with one a line."""


def run(config: Config) -> None:
    """Export and report."""
    selection = select(config.store, config.fields, config.missing)
    report = export_tars(config, selection, expand_shards(config.shards), merged=True)
    print(report.as_json() if config.json else report)

"""``keyclip vectors export dpt``: evaluation features as torch saves them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from store.common.errors import ConfigError
from store.common.settings import Positional
from store.sources.keylist import iter_key_list
from tools.interop.config import ExportConfig
from tools.interop.exporting import select
from tools.interop.formats.dpt import export_dpt, shard_row_keys
from tools.prepare.downloaded import files_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(ExportConfig):
    """Export fields as evaluation features: torch.save of a tensor [images, fields, d], or [n, d] for a single field.

    The rows' keys are written beside it: FILE.keys.txt beside FILE.dpt, one a line.

    Example:
        keyclip vectors export dpt coco.store --output coco_test.dpt --shards 'coco-test/*.tar'
            --fields llama/captions.0 llama/captions.1 llama/captions.2 llama/captions.3 llama/captions.4
    """

    store: Positional[str]
    """Folder or URL of the store."""
    fields: tuple[str, ...]
    """The fields, in the order in which the tensor shall have them."""
    output: Path
    """File to write, with the ending .dpt."""
    shards: tuple[str, ...] = ()
    """Image shards in whose order the rows shall be. Default: the store's order."""
    row_keys: Path | None = None
    """Text file with the sample keys in the order in which the rows shall be, one a line."""
    dtype: Literal["float16", "float32"] | None = None
    """Numbers of the tensor. Default: float16 where the store has them so, else float32."""

    def __post_init__(self) -> None:
        if self.shards and self.row_keys:
            raise ConfigError("give either --shards or --row-keys, the order of the rows")
        if self.output.suffix != ".dpt":
            raise ConfigError(f"--output {str(self.output)!r} must be a file with the ending .dpt")


def run(config: Config) -> None:
    """Export and report."""
    selection = select(config.store, config.fields, config.missing)
    keys = list(iter_key_list(config.row_keys)) if config.row_keys else None
    if config.shards:
        keys, _ = shard_row_keys(config.shards, ())
    report = export_dpt(config, selection, keys, config.dtype, [config.row_keys, *files_of(config.shards)])
    print(report.as_json() if config.json else report)

"""``keyclip vectors export sidecar``: tars of vectors beside image tars, for LLM2CLIP and ProCLIP."""

from dataclasses import dataclass

from store.common.settings import Positional
from store.sources.shards import expand_shards
from tools.interop.config import ExportConfig
from tools.interop.exporting import select
from tools.interop.formats.tar_export import export_tars


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(ExportConfig):
    """Export fields as sidecars X_text_embeddings.tar, one for each image tar X.tar, to be read in lock-step with it.

    A sidecar has a sample for each of its image tar's, in the same order, with a member KEY.NAME per field: float32
    numbers. NAME is the field's caption field unless given. Sidecars have no place for a sample without vectors: with
    --missing skip or --keys they only go with image tars of the same samples.

    Example:
        keyclip vectors export sidecar cc3m.store --fields llama/shortSV_captions llama/longSV_captions
            --shards 'cc3m/{00000..00331}.tar' --output cc3m-sidecars
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
    report = export_tars(config, selection, expand_shards(config.shards), merged=False)
    print(report.as_json() if config.json else report)

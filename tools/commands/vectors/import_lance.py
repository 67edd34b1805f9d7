"""``keyclip vectors import lance``: a Lance dataset of keyed vectors."""

from dataclasses import dataclass

from store.common.settings import Positional
from tools.interop.captions import KnownCaptions
from tools.interop.columns import column_names
from tools.interop.config import CaptionedImportConfig
from tools.interop.formats.lance import lance_source
from tools.interop.importing import import_vectors


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(CaptionedImportConfig):
    """Import a Lance dataset with a text column of sample keys and columns of float lists, all of one length.

    Needs the package pylance: pip install 'keyclip[lance]'. The dataset is imported as a whole or not at all; the same
    command again imports what is missing. Hashes of captions come from --shards or --captions, or from the column
    NAME_caption_hash that the export writes; else they are unknown.

    Example:
        keyclip vectors import lance cc3m.lance --caption-fields captions.0=vector --store cc3m.store
            --model sentence-transformers/all-MiniLM-L6-v2 --kind sentence
    """

    dataset: Positional[str]
    """Folder of the dataset."""
    key_column: str = "key"
    """The column that holds the sample key."""
    caption_fields: tuple[str, ...] = ()
    """CAPTION_FIELD or CAPTION_FIELD=COLUMN: what to import. Default: every column of float lists."""


def run(config: Config) -> None:
    """Import and report."""
    names = column_names(config.caption_fields)
    source = lance_source(config.dataset, config.key_column, names)
    report = import_vectors(config, [source], KnownCaptions.named(config, list(names)))
    print(report.as_json() if config.json else report)

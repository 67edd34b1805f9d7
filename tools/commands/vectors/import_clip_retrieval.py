"""``keyclip vectors import clip-retrieval``: folders that clip-retrieval writes and embedding-reader reads."""

from dataclasses import dataclass
from pathlib import Path

from store.common.settings import Positional
from tools.interop.captions import KnownCaptions
from tools.interop.config import CaptionedImportConfig
from tools.interop.formats.clip_retrieval import Embeddings, clip_retrieval_sources
from tools.interop.importing import import_vectors


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(CaptionedImportConfig):
    """Import a clip-retrieval folder: text_emb/text_emb_0.npy, ... with metadata/metadata_0.parquet, ... row by row.

    The metadata gives the sample keys, and the captions where --caption-column names them; these may also come from
    --shards or --captions. A matrix is imported as a whole or not at all; the same command again imports what is
    missing.

    Example:
        keyclip vectors import clip-retrieval laion-embeddings --key-column image_path --caption-column caption
            --caption-field caption --store laion.store --model openai/clip-vit-large-patch14 --kind clip-text
    """

    folder: Positional[Path]
    """The folder with text_emb/ and metadata/."""
    caption_field: str
    """Caption field of the captions that were embedded, as in the sample's json."""
    embeddings: Embeddings = "text_emb"
    """Which matrices to import."""
    key_column: str = "key"
    """Column of the metadata that holds the sample key; clip-retrieval calls it image_path."""
    caption_column: str | None = None
    """Column of the metadata that holds the captions that were embedded; their hashes are kept with the vectors."""


def run(config: Config) -> None:
    """Import and report."""
    sources = clip_retrieval_sources(
        config.folder, config.embeddings, config.caption_field, config.key_column, config.caption_column
    )
    report = import_vectors(config, sources, KnownCaptions.named(config, [config.caption_field]))
    print(report.as_json() if config.json else report)

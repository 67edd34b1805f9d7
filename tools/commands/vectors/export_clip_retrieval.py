"""``keyclip vectors export clip-retrieval``: a field as clip-retrieval writes and embedding-reader reads it."""

from dataclasses import dataclass
from typing import Literal

from store.common.settings import Count, Positional
from tools.interop.config import ExportConfig
from tools.interop.exporting import select
from tools.interop.formats.clip_retrieval import Embeddings, export_clip_retrieval


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(ExportConfig):
    """Export a field as text_emb/text_emb_0.npy, ... and, row by row, metadata/metadata_0.parquet, ... with the keys.

    Rows are in the store's order.

    Example:
        keyclip vectors export clip-retrieval cc3m.store --field clip/captions.0 --output cc3m-embeddings
    """

    store: Positional[str]
    """Folder or URL of the store."""
    field: str
    """The field to export."""
    dtype: Literal["float16", "float32"] | None = None
    """Numbers of the file. Default: float16 where the store has them so, else float32."""
    rows_per_file: Count = 100_000
    """Rows in a matrix, at most."""
    embeddings: Embeddings = "text_emb"
    """What to call the matrices."""


def run(config: Config) -> None:
    """Export and report."""
    selection = select(config.store, [config.field], config.missing)
    report = export_clip_retrieval(config, selection, config.dtype, config.rows_per_file, config.embeddings)
    print(report.as_json() if config.json else report)

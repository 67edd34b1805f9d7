"""``keyclip vectors import sidecar``: LLM2CLIP's and ProCLIP's tars of vectors beside image tars."""

from dataclasses import dataclass

from store.common.settings import Positional
from store.sources.shards import expand_shards
from tools.interop.columns import column_names
from tools.interop.config import ImportConfig
from tools.interop.formats.sidecar import sidecar_sources
from tools.interop.importing import import_vectors


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(ImportConfig):
    """Import the sidecars X_text_embeddings.tar that LLM2CLIP and ProCLIP read in lock-step with X.tar.

    A sidecar's keys and their order are compared with its image tar, X.tar beside it or among --shards, and vectors
    keep every bit. The hashes of the captions in the image tar's json are stored with the vectors. A file is imported
    as a whole or not at all; the same command again imports what is missing.

    Example:
        keyclip vectors import sidecar 'cc3m/*_text_embeddings.tar' --store cc3m.store
            --model microsoft/LLM2CLIP-Llama-3-8B-Instruct-CC-Finetuned --field-prefix llama --dtype float16
    """

    sidecars: Positional[tuple[str, ...]]
    """Sidecars: paths, globs, brace ranges, or @FILE with one a line."""
    shards: tuple[str, ...] = ()
    """Image tars, where they are not beside their sidecars."""
    caption_fields: tuple[str, ...] = ()
    """CAPTION_FIELD or CAPTION_FIELD=EXTENSION: what to import. Default: every member of the first sample."""
    check: bool = True
    """Compare with the image tars. False: take the sidecars as they are, captions unknown."""


def run(config: Config) -> None:
    """Import and report."""
    shards = expand_shards(config.shards) if config.shards else None
    names = column_names(config.caption_fields)
    sources = sidecar_sources(expand_shards(config.sidecars), shards, names, config.check)
    report = import_vectors(config, sources)
    print(report.as_json() if config.json else report)

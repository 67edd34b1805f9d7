"""``keyclip vectors import merged``: image tars that hold the vectors too."""

from dataclasses import dataclass

from store.common.errors import ConfigError
from store.common.settings import Positional
from store.sources.shards import expand_shards
from tools.interop.columns import column_names
from tools.interop.config import ImportConfig
from tools.interop.formats.sidecar import merged_sources
from tools.interop.importing import import_vectors


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(ImportConfig):
    """Import vectors that are members of the image tars themselves, KEY.CAPTION_FIELD beside KEY.jpg and KEY.json.

    Vectors keep every bit, and the hashes of the captions in the json are stored with them. The tars are only read. A
    file is imported as a whole or not at all; the same command again imports what is missing.

    Example:
        keyclip vectors import merged 'cc3m-merged/*.tar' --caption-fields shortSV_captions longSV_captions
            --store cc3m.store --model microsoft/LLM2CLIP-Llama-3-8B-Instruct-CC-Finetuned --field-prefix llama
    """

    shards: Positional[tuple[str, ...]]
    """Merged tars: paths, globs, brace ranges, or @FILE with one a line."""
    caption_fields: tuple[str, ...]
    """CAPTION_FIELD or CAPTION_FIELD=EXTENSION: the members that are vectors."""

    def __post_init__(self) -> None:
        ImportConfig.__post_init__(self)
        if not self.caption_fields:
            raise ConfigError("name the members that are vectors with --caption-fields")


def run(config: Config) -> None:
    """Import and report."""
    sources = merged_sources(expand_shards(config.shards), column_names(config.caption_fields))
    report = import_vectors(config, sources)
    print(report.as_json() if config.json else report)

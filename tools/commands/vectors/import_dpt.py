"""``keyclip vectors import dpt``: evaluation features saved by torch."""

from dataclasses import dataclass
from pathlib import Path

from store.common.errors import ConfigError
from store.common.settings import Positional
from store.sources.keylist import iter_key_list
from tools.interop.config import ImportConfig
from tools.interop.formats.dpt import dpt_source, keys_file, shard_row_keys
from tools.interop.importing import import_vectors


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(ImportConfig):
    """Import evaluation features: a .dpt file, torch.save of a float tensor [images, captions of each, d] or [n, d].

    The rows' keys are those of --shards, in order, or stand in --row-keys, one a line (by default FILE.keys.txt beside
    FILE.dpt, which the export writes). The file is loaded without running any code in it.

    Example:
        keyclip vectors import dpt coco_test.dpt --shards 'coco-test/*.tar' --store coco.store --field-prefix llama
            --caption-fields captions.0 captions.1 captions.2 captions.3 captions.4
            --model microsoft/LLM2CLIP-Llama-3-8B-Instruct-CC-Finetuned
    """

    file: Positional[Path]
    """The .dpt file."""
    caption_fields: tuple[str, ...]
    """A caption field for each caption of an image, in the order of the tensor."""
    shards: tuple[str, ...] = ()
    """Image shards in the order of the rows; their captions' hashes are stored with the vectors."""
    row_keys: Path | None = None
    """Text file with the sample keys in the order of the rows, one a line."""

    def __post_init__(self) -> None:
        ImportConfig.__post_init__(self)
        if self.shards and self.row_keys:
            raise ConfigError("give either --shards or --row-keys, the keys of the rows")


def run(config: Config) -> None:
    """Import and report."""
    hashes = None
    if config.shards:
        keys, hashes = shard_row_keys(config.shards, config.caption_fields)
    else:
        keys = list(iter_key_list(config.row_keys or keys_file(config.file)))
    report = import_vectors(config, [dpt_source(config.file, config.caption_fields, keys, hashes)])
    print(report.as_json() if config.json else report)

"""``keyclip data index``: a table of the samples of shards."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from store.common.errors import ConfigError
from store.common.outputs import PARQUET, Outputs
from store.common.settings import Workers
from store.sources.shards import expand_shards
from tools.prepare.downloaded import files_of
from tools.prepare.indexing import caption_fields_of, index_shards, schema
from tools.query.printing import gigabytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """List the samples of shards: keys, sizes, and which captions they have. Images are not read.

    With --output a parquet file gets a row per sample: shard, key, image (its extension), image_bytes, json_bytes,
    width, height, and per caption field its number of characters. `keyclip data check` looks for faults.

    Example:
        keyclip data index --shards 'cc3m/{00000..00331}.tar' --output cc3m-index.parquet
    """

    shards: tuple[str, ...]
    """Shards: paths, globs, brace ranges or @FILE lists; URLs and pipe: commands too."""
    caption_fields: tuple[str, ...] = ()
    """Paths into the json to count. Default: every field of the first sample whose name has caption in it."""
    output: Path | None = None
    """The table of samples: a .parquet file."""
    overwrite: bool = False
    """Replace a table that is there."""
    workers: Workers | None = None
    """Processes that read. Default: one per core."""
    json: bool = False
    """Print the counts as json, per shard and in all."""

    def __post_init__(self) -> None:
        if self.output is not None and self.output.suffix != ".parquet":
            raise ConfigError(f"output is {self.output}; expected the path of a .parquet file")


def run(config: Config) -> None:
    """Index and print."""
    shards = expand_shards(config.shards)
    counts: list[dict[str, Any]] = []
    with Outputs(files_of(config.shards), config.overwrite) as outputs:
        part = outputs.claim(config.output, PARQUET) if config.output else None
        fields = config.caption_fields or tuple(caption_fields_of(shards[0]))
        table = outputs.table(part, schema(fields)) if part else None
        for indexed in index_shards(shards, fields, config.workers, config.json):
            counts.append(indexed.counts)
            if not config.json:
                print(_line(indexed.counts))
            if table:
                table.write_table(pa.Table.from_pylist(indexed.rows, schema=table.schema))
    total = _total(counts)
    if config.json:
        print(json.dumps({"shards": counts, "total": total}))
    else:
        print(_line(total))


def _total(counts: list[dict[str, Any]]) -> dict[str, Any]:
    sums = ("num_samples", "num_with_image", "image_bytes", "json_bytes")
    tried, captions = ([count[name] for count in counts] for name in ("num_tried", "num_with_caption"))
    return {
        "shard": f"{len(counts)} shards",
        **{name: sum(count[name] for count in counts) for name in sums},
        "num_tried": None if None in tried else sum(tried),
        "num_with_caption": {name: sum(held[name] for held in captions) for name in captions[0]},
    }


def _line(count: dict[str, Any]) -> str:
    tried = f" of {count['num_tried']:,} tried" if count["num_tried"] is not None else ""
    parts = [f"{count['num_samples']:,} samples{tried}"]
    if without := count["num_samples"] - count["num_with_image"]:
        parts.append(f"{without:,} without image")
    parts.append(f"{gigabytes(count['image_bytes'])} of images")
    parts += [f"{name} {held:,}" for name, held in count["num_with_caption"].items()]
    return f"{count['shard']}: {', '.join(parts)}"

"""A table of all samples of shards: sizes, and which captions each has."""

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from store.common.errors import CaptionFieldError, DamagedShardError
from store.sources.shards import caption_at
from tools.prepare.scanning import Finding, scan
from tools.prepare.shards_in_parallel import over_shards

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class IndexedShard:
    """A row per sample of one shard, with the columns of :func:`schema`, and their counts.

    ``num_tried`` is the number of urls that img2dataset tried, as SHARD_stats.json says; None without that file.
    """

    rows: list[Row]
    counts: dict[str, Any]


def schema(caption_fields: Sequence[str]) -> pa.Schema:
    """The columns of an index: ``image`` is the extension of the image member, ``width`` and ``height`` are in pixels,
    as the json says; a caption field's column is its number of characters, 0 where it is empty or missing.
    """
    names = ("image_bytes", "json_bytes", "width", "height", *caption_fields)
    return pa.schema(
        [(name, pa.large_string()) for name in ("shard", "key", "image")] + [(name, pa.int64()) for name in names]
    )


def caption_fields_of(shard: str) -> list[str]:
    """The fields with ``caption`` in their names that the first sample with a json has; of a list, every place."""
    for found in scan(shard, [], needs_image=False, decode_images=False):
        if not isinstance(found, Finding) and found.sample:
            return [
                path
                for name, value in found.sample.items()
                if "caption" in name.lower()
                for path in ([f"{name}.{i}" for i in range(len(value))] if isinstance(value, list) else [name])
            ]
    return []


def index_shards(
    shards: Sequence[str], caption_fields: Sequence[str], workers: int | None, quiet: bool
) -> Iterator[IndexedShard]:
    """Index every shard, in parallel. Raises: DamagedShardError: one cannot be read, or a key comes twice in it."""
    index = functools.partial(index_shard, caption_fields=tuple(caption_fields))
    yield from over_shards(index, shards, workers, "index", quiet)


def index_shard(shard: str, caption_fields: Sequence[str]) -> IndexedShard:
    """Index one shard; see :func:`index_shards`."""
    rows: list[Row] = []
    for found in scan(shard, [], needs_image=False, decode_images=False):
        if isinstance(found, Finding):
            who = f"sample {found.key!r} of " if found.key is not None else ""
            raise DamagedShardError(f"{who}shard {shard!r}: {found.what}; `keyclip data check` lists all faults")
        rows.append(
            {
                "shard": shard,
                "key": found.key,
                "image": found.image_extension,
                "image_bytes": found.num_image_bytes,
                "json_bytes": found.num_json_bytes,
                **{side: _number(found.sample.get(side)) for side in ("width", "height")},
                **{name: _length(found.sample, name) for name in caption_fields},
            }
        )
    counts = {
        "shard": shard,
        "num_samples": len(rows),
        "num_tried": _num_tried(shard),
        "num_with_image": sum(row["image"] is not None for row in rows),
        "image_bytes": sum(row["image_bytes"] for row in rows),
        "json_bytes": sum(row["json_bytes"] for row in rows),
        "num_with_caption": {name: sum(row[name] > 0 for row in rows) for name in caption_fields},
    }
    return IndexedShard(rows, counts)


def _length(sample: dict[str, Any], caption_field: str) -> int:
    try:
        return len(caption_at(sample, caption_field) or "")
    except CaptionFieldError:
        return 0


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None


def _num_tried(shard: str) -> int | None:
    try:
        stats = json.loads(Path(shard.removesuffix(".tar") + "_stats.json").read_bytes())
        return _number(stats.get("count"))
    except (OSError, ValueError, AttributeError):
        return None

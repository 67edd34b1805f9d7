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

BASE = pa.schema(
    [
        ("shard", pa.large_string()),
        ("key", pa.large_string()),
        ("image", pa.large_string()),
        ("image_bytes", pa.int64()),
        ("json_bytes", pa.int64()),
        ("width", pa.int64()),
        ("height", pa.int64()),
    ]
)
"""Columns of every index: extension of the image member (null without one), sizes in bytes, and width and height in
pixels as the json says (null where it does not)."""


@dataclass(frozen=True, slots=True)
class IndexedShard:
    """Samples of one shard."""

    shard: str
    rows: list[dict[str, Any]]
    num_tried: int | None
    """Urls that img2dataset tried for this shard, as SHARD_stats.json beside it says; None without that file."""

    def table(self, caption_fields: Sequence[str]) -> pa.Table:
        """With the columns of :data:`BASE`, and one per caption field: its number of characters, 0 where it is empty
        or missing."""
        return pa.Table.from_pylist(self.rows, schema=schema(caption_fields))

    def num_with(self, column: str) -> int:
        """Samples where a column is neither null nor 0."""
        return sum(bool(row[column]) for row in self.rows)


def schema(caption_fields: Sequence[str]) -> pa.Schema:
    """Of :meth:`IndexedShard.table`."""
    return pa.schema([*BASE, *(pa.field(name, pa.int64()) for name in caption_fields)])


def caption_fields_of(shard: str) -> list[str]:
    """The text fields with ``caption`` in their names that the first sample with a json has; lists are counted out."""
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
    """Index every shard, in parallel, in their order.

    Raises:
        DamagedShardError: a shard cannot be read, or a key comes twice in it.
    """
    index = functools.partial(index_shard, caption_fields=tuple(caption_fields))
    yield from over_shards(index, shards, workers, "index", quiet)


def index_shard(shard: str, caption_fields: Sequence[str]) -> IndexedShard:
    """Index one shard; see :func:`index_shards`."""
    rows = []
    for found in scan(shard, [], needs_image=False, decode_images=False):
        if isinstance(found, Finding):
            who = f"sample {found.key!r} of " if found.key is not None else ""
            raise DamagedShardError(f"{who}shard {shard!r}: {found.what}; `keyclip data check` tells everything")
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
    return IndexedShard(shard, rows, _num_tried(shard))


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

"""Checks shards before they are trained on: every finding, and a key list of the samples without one."""

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from store.outputs import Lines
from tools.preparing.scanning import Finding, scan
from tools.preparing.shards_in_parallel import over_shards
from tools.preparing.spill import NUM_PARTITIONS, Spill, by_number


@dataclass(frozen=True, slots=True)
class CheckedShard:
    """One shard, looked at."""

    shard: str
    keys: list[str]
    good: list[bool]
    """For each key, whether nothing is wrong with its sample."""
    findings: list[Finding]


@dataclass(slots=True)
class Summary:
    """What a check found."""

    num_shards: int = 0
    num_samples: int = 0
    num_good: int = 0
    num_findings: dict[str, int] = field(default_factory=dict)
    """By kind."""


def check_shard(shard: str, caption_fields: Sequence[str], decode_images: bool) -> CheckedShard:
    """Look at every sample of a shard."""
    checked = CheckedShard(shard, [], [], [])
    first: dict[str | None, int] = {}
    for found in scan(shard, caption_fields, decode_images=decode_images):
        if isinstance(found, Finding):
            checked.findings.append(found)
            if found.key in first:
                checked.good[first[found.key]] = False  # nobody knows which of the two is meant
            continue
        first[found.key] = len(checked.keys)
        checked.keys.append(found.key)
        checked.good.append(not found.findings)
        checked.findings.extend(found.findings)
    return checked


def check_shards(
    shards: Sequence[str],
    caption_fields: Sequence[str],
    decode_images: bool,
    workers: int | None,
    tell: Callable[[Finding], object],
    good_keys: Lines,
    working: Path,
    quiet: bool,
) -> Summary:
    """Check shards in parallel; ``tell`` is called with every finding; ``good_keys`` receives the key list.

    ``working`` is a folder for what is laid aside. Memory does not grow with the number of samples: keys are compared
    across shards on disk.
    """
    counts: Counter[str] = Counter()
    summary = Summary(num_shards=len(shards))

    def found(finding: Finding) -> None:
        counts[finding.kind] += 1
        tell(finding)

    check = functools.partial(check_shard, caption_fields=tuple(caption_fields), decode_images=decode_images)
    spill, good = Spill(working / "keys"), Spill(working / "good")
    for number, checked in enumerate(over_shards(check, shards, workers, "check", quiet)):
        for finding in checked.findings:
            found(finding)
        _lay_aside(checked, number, summary.num_samples, spill)
        summary.num_samples += len(checked.keys)
    for keys in spill:
        keys = _without_repeated(keys, shards, found)
        keys = keys.filter(keys["good"])
        good.add(by_number(keys["sample"].to_numpy()), keys)
        summary.num_good += keys.num_rows
    for keys in good:
        good_keys.write(keys.sort_by("sample")["key"].to_pylist())
    summary.num_findings = dict(counts)
    return summary


def _lay_aside(checked: CheckedShard, shard: int, first_sample: int, spill: Spill) -> None:
    count = len(checked.keys)
    table = pa.table(
        {
            "key": pa.array(checked.keys, pa.large_string()),
            "good": pa.array(checked.good, pa.bool_()),
            "shard": pa.array(np.full(count, shard)),
            "sample": pa.array(np.arange(count) + first_sample),
        }
    )
    spill.add(
        np.array([xxhash.xxh3_64_intdigest(key.encode()) % NUM_PARTITIONS for key in checked.keys], np.int64), table
    )


def _without_repeated(keys: pa.Table, shards: Sequence[str], found: Callable[[Finding], None]) -> pa.Table:
    """The keys that stand in one shard only; of the others one finding each."""
    counts = pc.value_counts(keys["key"].combine_chunks())
    several = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    is_several = pc.is_in(keys["key"], value_set=several)
    repeated = keys.filter(is_several).sort_by([("key", "ascending"), ("sample", "ascending")])
    where: dict[str, list[str]] = {}
    for row in repeated.to_pylist():
        where.setdefault(row["key"], []).append(shards[row["shard"]])
    for key, places in where.items():
        found(Finding(places[1], key, "key in several shards", f"also in {', '.join(places[:1] + places[2:])}"))
    return keys.filter(pc.invert(is_several))

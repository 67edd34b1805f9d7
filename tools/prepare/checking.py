"""Checks shards before they are trained on: every finding, and a key list of the samples without one."""

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from store.common.outputs import Lines
from tools.prepare.database import Database
from tools.prepare.scanning import Finding, scan
from tools.prepare.shards_in_parallel import over_shards


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
    database: Database,
    quiet: bool,
) -> Summary:
    """Check shards in parallel; ``tell`` is called with every finding; ``good_keys`` receives the key list.

    Memory does not grow with the number of samples: keys are compared across shards in ``database``.
    """
    counts: Counter[str] = Counter()
    summary = Summary(num_shards=len(shards))

    def found(finding: Finding) -> None:
        counts[finding.kind] += 1
        tell(finding)

    check = functools.partial(check_shard, caption_fields=tuple(caption_fields), decode_images=decode_images)
    for number, checked in enumerate(over_shards(check, shards, workers, "check", quiet)):
        for finding in checked.findings:
            found(finding)
        database.insert("keys", _as_table(checked, number, summary.num_samples))
        summary.num_samples += len(checked.keys)
    for key, places in database.rows(_REPEATED) if shards else ():
        first, second, *rest = (shards[place] for place in places)
        found(Finding(second, key, "key in several shards", f"also in {', '.join([first, *rest])}"))
    summary.num_good = database.row(f"SELECT count(*) FROM ({_GOOD})")[0]
    good_keys.write(key for (key,) in database.rows(_GOOD))
    summary.num_findings = dict(counts)
    return summary


def _as_table(checked: CheckedShard, shard: int, first_sample: int) -> pa.Table:
    count = len(checked.keys)
    return pa.table(
        {
            "key": pa.array(checked.keys, pa.large_string()),
            "good": pa.array(checked.good, pa.bool_()),
            "shard": pa.array(np.full(count, shard)),
            "sample": pa.array(np.arange(count) + first_sample),
        }
    )


_REPEATED = """
SELECT key, list(shard ORDER BY sample) FROM keys GROUP BY key HAVING count(*) > 1 ORDER BY key
"""
# the keys of sound samples that are in one shard only, in the samples' order
_GOOD = """
SELECT key FROM (SELECT key, min(sample) AS sample, count(*) AS count, bool_and(good) AS good FROM keys GROUP BY key)
WHERE good AND count = 1 ORDER BY sample
"""

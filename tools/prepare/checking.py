"""Checks shards before they are trained on: every finding, and a key list of the samples without one."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from store.common.outputs import Lines
from tools.prepare.database import Database, texts
from tools.prepare.scanning import Finding, scan
from tools.prepare.shards_in_parallel import over_shards


@dataclass(slots=True)
class Summary:
    """The counts of a check; of findings by kind."""

    num_shards: int = 0
    num_samples: int = 0
    num_good: int = 0
    num_findings: dict[str, int] = field(default_factory=dict)


def check_shard(
    shard: str, caption_fields: Sequence[str], decode_images: bool
) -> tuple[dict[str, bool], list[Finding]]:
    """Every key of a shard in its order, with whether its sample has no fault; and all findings."""
    good: dict[str, bool] = {}
    findings: list[Finding] = []
    for found in scan(shard, caption_fields, decode_images=decode_images):
        if isinstance(found, Finding):
            findings.append(found)
            if found.key in good:
                good[found.key] = False  # nobody knows which of the two samples is meant
        else:
            good[found.key] = not found.findings
            findings += found.findings
    return good, findings


def check_shards(
    shards: Sequence[str],
    caption_fields: Sequence[str],
    decode_images: bool,
    workers: int | None,
    report: Callable[[Finding], object],
    good_keys: Lines,
    database: Database,
    quiet: bool,
) -> Summary:
    """Check shards in parallel; ``report`` is called with every finding; ``good_keys`` receives the key list.

    Memory does not grow with the number of samples: keys are compared across shards in ``database``.
    """
    summary = Summary(num_shards=len(shards))

    def found(finding: Finding) -> None:
        summary.num_findings[finding.kind] = summary.num_findings.get(finding.kind, 0) + 1
        report(finding)

    check = functools.partial(check_shard, caption_fields=tuple(caption_fields), decode_images=decode_images)
    for shard, (good, findings) in enumerate(over_shards(check, shards, workers, "check", quiet)):
        for finding in findings:
            found(finding)
        columns = {
            "key": texts(list(good)),
            "good": np.fromiter(good.values(), bool, len(good)),
            "shard": np.full(len(good), shard),
            "sample": np.arange(len(good)) + summary.num_samples,
        }
        database.insert("keys", columns)
        summary.num_samples += len(good)
    for key, places in database.rows(_REPEATED):
        first, second, *rest = (shards[place] for place in places)
        found(Finding(second, key, "key in several shards", f"also in {', '.join([first, *rest])}"))
    summary.num_good = database.value(f"SELECT count(*) FROM ({_GOOD})")
    good_keys.write(key for (key,) in database.rows(_GOOD))
    return summary


_REPEATED = """
SELECT key, list(shard ORDER BY sample) FROM keys GROUP BY key HAVING count(*) > 1 ORDER BY key
"""
# the keys of sound samples that are in one shard only, in the samples' order
_GOOD = """
SELECT key FROM (SELECT key, min(sample) AS sample, count(*) AS count, bool_and(good) AS good FROM keys GROUP BY key)
WHERE good AND count = 1 ORDER BY sample
"""

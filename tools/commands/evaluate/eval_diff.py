"""``keyclip eval-diff``: the differences of two arms, compared query by query, with 95 % intervals."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from store.common.errors import ConfigError
from tools.report.material.inputs import load_result
from tools.report.material.queries import differences
from tools.report.results.intervals import difference_table, seeds_line


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Compare two arms on the same queries: the difference of every measure with its 95 % interval.

    Both arms were evaluated with `keyclip eval` on the same sets; give the results of all seeds of an arm, in the same
    order of seeds. Sets that not all of the results have are left out, also of the means. A difference whose interval
    holds zero is within noise and marked `~`. With one seed the interval covers the noise of the queries, drawn again
    by image 1,000 times; with several seeds the noise of the seeds is added (Student's t).

    Example:
        keyclip eval-diff --ours results/proclip.json --theirs results/llm2clip.json
        keyclip eval-diff --ours seed-*/results/proclip.json --theirs seed-*/results/llm2clip.json
    """

    ours: tuple[Path, ...]
    """Results of one arm, one for each seed."""
    theirs: tuple[Path, ...]
    """Results of the other arm, as many, or one that is compared with every seed (CLIP itself)."""
    json: bool = False
    """Print json: every measure of every set; the set "" is the mean of all. Values are shares, not percent."""

    def __post_init__(self) -> None:
        counts = {len(self.ours), len(self.theirs)}
        if 0 in counts or counts - {1, max(counts)}:
            raise ConfigError(
                f"{len(self.ours)} results against {len(self.theirs)}; give as many on both sides, or one on a side"
            )


def run(config: Config) -> None:
    """Print both arms and their differences."""
    results = _comparable([_load(file) for file in (*config.ours, *config.theirs)])
    ours, theirs = results[: len(config.ours)], results[len(config.ours) :]
    if config.json:
        found = {
            kind: {
                name: {m: asdict(one) | {"within_noise": bool(one.within_noise)} for m, one in measures.items()}
                for name, measures in sets.items()
            }
            for kind, sets in differences(ours, theirs).items()
        }
        print(json.dumps({"ours": ours[0]["name"], "theirs": theirs[0]["name"], "differences": found}))
        return
    for side in (ours, theirs):
        print(seeds_line(str(side[0]["name"]), side))
    print("\nours - theirs [95 % interval], ~ where that is within noise; recalls and accuracies in points\n")
    print(difference_table(ours, theirs))


def _load(file: Path) -> dict[str, Any]:
    """Raises: ConfigError, InvalidDataError: it is no result, holds no ranks, or they are damaged."""
    result = load_result(file).data
    if not {"queries", "bootstrap"} <= result.keys():
        raise ConfigError(f"the result {str(file)!r} holds no ranks of queries; evaluate again")
    return dict(result)


def _comparable(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results with only the sets that all of them have, so that their means are of the same sets.

    Raises:
        ConfigError: they have no set in common, or no replicates, or differently drawn ones.
    """
    first = results[0]
    for result in results:
        if result["bootstrap"] != first["bootstrap"] or not result["bootstrap"]["resamples"]:
            raise ConfigError(
                f"results {first['name']!r} and {result['name']!r} cannot be compared query by query: their resamples "
                f"were drawn as {first['bootstrap']} and {result['bootstrap']}; evaluate both with the same --seed and "
                "--resamples, above 0"
            )
    shared = {
        kind: [name for name in sets if all(name in (result["queries"].get(kind) or {}) for result in results)]
        for kind, sets in first["queries"].items()
    }
    if not any(shared.values()):
        raise ConfigError("the results have no set in common; evaluate both on the same sets")
    return [
        result
        | {"queries": {kind: {name: result["queries"][kind][name] for name in names} for kind, names in shared.items()}}
        for result in results
    ]

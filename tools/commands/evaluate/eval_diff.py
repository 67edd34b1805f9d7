"""``keyclip eval-diff``: whether two arms differ by more than chance, query by query."""

import json
from collections.abc import Mapping, Sequence
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
    holds zero is within noise and marked `~`. With one seed the noise is that of the queries, drawn again by image
    1,000 times; with several, that of the seeds is added (Student's t).

    Example:
        keyclip eval-diff --ours results/proclip.json --theirs results/llm2clip.json
        keyclip eval-diff --ours seed-*/results/proclip.json --theirs seed-*/results/llm2clip.json
    """

    ours: tuple[Path, ...]
    """Results of one arm, one for each seed."""
    theirs: tuple[Path, ...]
    """Results of the other arm, as many, or one that stands against every seed (CLIP itself)."""
    json: bool = False
    """Print json: every measure of every set; the set "" is the mean of all. Values are shares, not percent."""

    def __post_init__(self) -> None:
        if not self.ours or not self.theirs or {len(self.ours), len(self.theirs)} - {1, max(map(len, self.sides))}:
            raise ConfigError(
                f"{len(self.ours)} results against {len(self.theirs)}; give as many on both sides, or one on a side"
            )

    @property
    def sides(self) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        """Ours and theirs."""
        return self.ours, self.theirs


def run(config: Config) -> None:
    """Print both arms and their differences."""
    results = _comparable([_load(file) for files in config.sides for file in files])
    ours, theirs = results[: len(config.ours)], results[len(config.ours) :]
    if config.json:
        print(json.dumps({"ours": ours[0]["name"], "theirs": theirs[0]["name"], "differences": _plain(ours, theirs)}))
        return
    for side in (ours, theirs):
        print(seeds_line(str(side[0]["name"]), side))
    print("\nours - theirs [95 % interval], ~ where that is within noise; recalls and accuracies in points\n")
    print(difference_table(ours, theirs))


def _plain(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Kind -> set -> measure -> value, low, high, within_noise."""
    return {
        kind: {
            name: {m: asdict(one) | {"within_noise": bool(one.within_noise)} for m, one in measures.items()}
            for name, measures in sets.items()
        }
        for kind, sets in differences(ours, theirs).items()
    }


def _load(file: Path) -> Mapping[str, Any]:
    """Raises: ConfigError, InvalidDataError: it is no result, holds no ranks, or they are damaged."""
    result = load_result(file).data
    if not {"queries", "bootstrap"} <= result.keys():
        raise ConfigError(f"the result {str(file)!r} holds no ranks of queries; evaluate again")
    return result


def _comparable(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The results with those sets alone that all of them have, so that their means are of the same sets.

    Raises:
        ConfigError: they have no set in common, or no replicates, or differently drawn ones.
    """
    for result in results:
        if result["bootstrap"] != results[0]["bootstrap"] or not result["bootstrap"]["resamples"]:
            raise ConfigError(
                f"results {results[0]['name']!r} and {result['name']!r} cannot be compared query by query: their "
                f"resamples were drawn as {results[0]['bootstrap']} and {result['bootstrap']}; evaluate both with the "
                "same --seed and --resamples, above 0"
            )
    shared = {
        kind: [name for name in sets if all(name in (result["queries"].get(kind) or {}) for result in results)]
        for kind, sets in results[0]["queries"].items()
    }
    if not any(shared.values()):
        raise ConfigError("the results have no set in common; evaluate both on the same sets")
    return [
        dict(result)
        | {"queries": {kind: {name: result["queries"][kind][name] for name in names} for kind, names in shared.items()}}
        for result in results
    ]

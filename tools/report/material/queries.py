"""From the ranks in a result file to intervals, and to differences between results on the same queries.

A result of ``keyclip eval`` holds the rank of every query. Measures are addressed as KIND, SET, MEASURE:

- kinds ``retrieval`` and ``drift``: sets, and SET/LANGUAGE; ``image_to_text/R@1`` to ``text_to_image/median_rank``,
  ``recall`` (the mean of the six recalls) and ``mean_rank`` (of both directions);
- kinds ``zeroshot``, ``robustness`` and ``linear_probe``: sets; ``top1``, ``top5``, ``mean_per_class`` and
  ``accuracy``, the one that papers report;
- kinds ``composition`` and ``fine_grained``: sets, and SET/KIND; ``accuracy``, of a set the mean of its kinds.

The set ``""`` is the mean of all sets; neither parts of sets (``--parts``) nor, in retrieval, sets in several languages
count in it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from store.common.errors import ConfigError
from tools.evaluate.packed_ranks import WAYS, unpack
from trainer.evaluation.metrics import accuracy, rank_summary
from trainer.evaluation.uncertainty import (
    Bootstrap,
    Difference,
    Measured,
    accuracy_replicates,
    difference,
    interval,
    rank_replicates,
    share_replicates,
)

ALL = ""  # the mean of all sets
_MOST_CLASSES = 2**24
_MOST_DRAWS = 10**11

Measures = dict[str, Measured]
Measurements = dict[str, dict[str, Measures]]


def require_sound(result: Mapping[str, Any]) -> None:
    """Look at the packed ranks of a result whose types were checked.

    Raises:
        ValueError: they are damaged, do not fit each other, or would take too long to draw from.
    """
    if "queries" not in result:
        return
    if "bootstrap" not in result:
        raise ValueError("there are ranks, but not how they are drawn")
    resamples = result["bootstrap"]["resamples"]
    for name, entry in ((name, entry) for sets in result["queries"].values() for name, entry in (sets or {}).items()):
        bound = entry.get("num_images", _MOST_CLASSES)
        for values, groups, lowest in _packed(entry):
            numbers, of = unpack(values), unpack(groups)
            fit = 0 < len(numbers) == len(of) and numbers.min() >= lowest and 0 <= of.min() <= of.max() < bound
            if not fit:
                raise ValueError(f"the ranks and groups of set {name!r} do not fit each other")
            if resamples * max(len(numbers), entry.get("num_images", 0)) > _MOST_DRAWS:
                raise ValueError(f"{resamples} resamples of set {name!r} would take hours")


def _packed(entry: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """What a set's entry has packed: ranks (or answers), their groups or classes, and the least that they can be."""
    if "kinds" in entry:
        yield from ((answers["right"], answers["groups"], 0) for answers in entry["kinds"].values())
    elif "labels" in entry:
        yield entry["ranks"], entry["labels"], 1
    else:
        yield from ((entry[way]["ranks"], entry[way]["groups"], 1) for way in WAYS)


def measurements(result: Mapping[str, Any]) -> Measurements:
    """Every measure of a result with its bootstrap replicates: kind -> set -> measure.

    Raises:
        ConfigError: the result was written without ranks; evaluate again.
    """
    if "queries" not in result:
        raise ConfigError(f"the result {result.get('name')!r} holds no ranks of queries; evaluate again")
    bootstrap = Bootstrap(**result["bootstrap"])
    found: Measurements = {}
    for kind, read in _READERS.items():
        entries = result["queries"].get(kind) or {}
        found[kind] = sets = read(entries, bootstrap)
        aside = {name.split("/")[0] for name, entry in entries.items() if entry.get("part")}
        if kind == "retrieval":
            aside |= {name.split("/")[0] for name, entry in entries.items() if entry.get("table") == "multilingual"}
        if whole := [measures for name, measures in sets.items() if "/" not in name and name not in aside]:
            sets[ALL] = _mean(whole)
    return found


def intervals(found: Measurements, level: float) -> dict[str, dict[str, dict[str, tuple[float, float]]]]:
    """The percentile interval of every measure that has replicates: kind -> set -> measure -> (low, high)."""

    def of_set(measures: Measures) -> dict[str, tuple[float, float]]:
        return {name: interval(one.replicates, level) for name, one in measures.items() if len(one.replicates)}

    return {kind: {name: of_set(measures) for name, measures in sets.items()} for kind, sets in found.items()}


def differences(
    ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, dict[str, Difference]]]:
    """Our arm minus theirs in every measure that all have, one result for each seed: kind -> set -> measure.

    Results pair by order where both arms have as many seeds; see :func:`trainer.evaluation.uncertainty.difference`.

    Raises:
        ConfigError: a set was evaluated on other images or captions, or the results hold no ranks.
    """
    require_same_queries([*ours, *theirs])
    left, right = [measurements(result) for result in ours], [measurements(result) for result in theirs]
    found: dict[str, dict[str, dict[str, Difference]]] = {}
    for kind, sets in left[0].items():
        for name in [name for name in sets if all(name in one[kind] for one in (*left, *right))]:
            ours_of, theirs_of = [one[kind][name] for one in left], [one[kind][name] for one in right]
            found.setdefault(kind, {})[name] = {
                measure: difference([one[measure] for one in ours_of], [one[measure] for one in theirs_of])
                for measure in sets[name]
                if all(measure in one for one in (*ours_of, *theirs_of))
            }
    return found


def require_same_queries(results: Sequence[Mapping[str, Any]]) -> None:
    """Raises: ConfigError: two results give one set's name to other images or captions; names both."""
    seen: dict[tuple[str, str], tuple[str, Any]] = {}
    for result in results:
        for kind, sets in (result.get("queries") or {}).items():
            for name, entry in (sets or {}).items():
                identity = [entry.get("images"), entry.get("texts")]
                other, expected = seen.setdefault((kind, name), (str(result.get("name")), identity))
                if identity != expected:
                    raise ConfigError(
                        f"results {other!r} and {str(result.get('name'))!r} were evaluated on other images or captions "
                        f"of set {name!r}; evaluate both on the same"
                    )


def _seeded(bootstrap: Bootstrap, entry: Mapping[str, Any]) -> Bootstrap:
    """The same draws for the same images, so that results pair; others for others, so that sets are independent."""
    return replace(bootstrap, seed=bootstrap.seed + int(entry["images"], 16) % 2**31)


def _retrieval_sets(sets: Mapping[str, Any], bootstrap: Bootstrap) -> dict[str, Measures]:
    found = {name: _retrieval(entry, _seeded(bootstrap, entry)) for name, entry in sets.items()}
    languages: dict[str, list[Measures]] = {}
    for name, measures in found.items():
        if "/" in name:
            languages.setdefault(name.split("/")[0], []).append(measures)
    return {name: _mean(parts) for name, parts in languages.items()} | found


def _retrieval(entry: Mapping[str, Any], bootstrap: Bootstrap) -> Measures:
    found: Measures = {}
    for way in WAYS:
        ranks, group = unpack(entry[way]["ranks"]), unpack(entry[way]["groups"])
        values = rank_summary(torch.from_numpy(ranks))
        replicates = rank_replicates(ranks, group, int(entry["num_images"]), bootstrap)
        found |= {f"{way}/{name}": Measured(value, replicates[name]) for name, value in values.items()}
    recalls = [found[f"{way}/R@{k}"] for way in WAYS for k in (1, 5, 10)]
    ranks_of_ways = [found[f"{way}/mean_rank"] for way in WAYS]
    return found | {"recall": mean_of(recalls), "mean_rank": mean_of(ranks_of_ways)}


def _zeroshot_sets(sets: Mapping[str, Any], bootstrap: Bootstrap) -> dict[str, Measures]:
    found = {}
    for name, entry in sets.items():
        ranks, labels = unpack(entry["ranks"]), unpack(entry["labels"])
        values = accuracy(torch.from_numpy(ranks), torch.from_numpy(labels))
        replicates = accuracy_replicates(ranks, labels, _seeded(bootstrap, entry))
        measures = {measure: Measured(value, replicates[measure]) for measure, value in values.items()}
        found[name] = measures | {"accuracy": measures[entry["primary"]]}
    return found


def _contrast_sets(sets: Mapping[str, Any], bootstrap: Bootstrap) -> dict[str, Measures]:
    found: dict[str, Measures] = {}
    for name, entry in sets.items():
        kinds = {}
        for kind, answers in entry["kinds"].items():
            right, group = unpack(answers["right"]), unpack(answers["groups"])
            replicates = share_replicates(right, group, int(entry["num_images"]), _seeded(bootstrap, entry))
            kinds[f"{name}/{kind}"] = {"accuracy": Measured(float(right.mean()), replicates)}
        found |= kinds | {name: _mean(list(kinds.values()))}
    return found


def _mean(sets: Sequence[Measures]) -> Measures:
    return {measure: mean_of([measures[measure] for measures in sets]) for measure in sets[0]}


def mean_of(parts: Sequence[Measured]) -> Measured:
    """The mean of measures, replicate by replicate."""
    replicates = np.mean([part.replicates for part in parts], axis=0)
    return Measured(float(np.mean([part.value for part in parts])), replicates)


_READERS: dict[str, Callable[[Mapping[str, Any], Bootstrap], dict[str, Measures]]] = {
    "retrieval": _retrieval_sets,
    "drift": _retrieval_sets,
    "zeroshot": _zeroshot_sets,
    "robustness": _zeroshot_sets,
    "composition": _contrast_sets,
    "fine_grained": _contrast_sets,
    "linear_probe": _zeroshot_sets,
}

"""The measures that distinguish the arms at a glance, and every retrieval measure in full, also by language."""

from collections.abc import Sequence

from tools.evaluate.packed_ranks import WAYS
from tools.report.material.inputs import RETRIEVAL_MEASURES, Result
from tools.report.results.tables import Column, Table, caption_sets, make_table, whole_sets

ZERO_SHOT = {"top1": "top-1", "top5": "top-5"}
MOST_SETS = 4  # beyond, the summary holds their mean
LEGEND = (
    ("recall", "mean of R@1, R@5 and R@10, from image to text and from text to image"),
    ("rank", "rank of the true match, 1 being the best: mean of all queries in both directions"),
    (
        "drift",
        "retrieval between the arm's image encoder and the text encoder of the original CLIP: a higher rank means that "
        "fine-tuning has moved images away from what CLIP knew; arms that left the image encoder alone do not compete",
    ),
    ("zero-shot", "share of images whose class is the first, or among the first five, by class prompts alone"),
)
LEVEL = "not distinguished from the best: the 95 % interval of the difference, over queries and seeds, holds zero"

Rows = list[tuple[str, list[float | None]]]
"""A language and the R@1 of each arm."""


def summary(results: Sequence[Result]) -> Table:
    """The few measures that distinguish the arms: of each caption set (or of their mean, where there are many) the mean
    of the six recalls and the mean rank; then drift and zero-shot accuracy. Measures that no arm has are left out.
    """
    sets, whole = caption_sets(results), whole_sets(results)
    groups = [(name, (name,)) for name in sets] if len(sets) <= MOST_SETS else [(f"{len(whole)} sets", tuple(whole))]
    columns = []
    for group, names in groups:
        columns.append(Column(group, "recall", ("retrieval", names, "recall")))
        columns.append(Column(group, "rank", ("retrieval", names, "mean_rank")))
    columns.append(Column("drift", "rank", ("drift", ("",), "mean_rank")))
    columns += [Column("zero-shot", label, ("zeroshot", ("",), key)) for key, label in ZERO_SHOT.items()]
    return make_table(results, columns)


def details(results: Sequence[Result]) -> list[tuple[str, Table]]:
    """(heading, table) for every caption set and the drift probe, with both directions in full."""
    named = {f"Retrieval, {name}": ("retrieval", name) for name in caption_sets(results)}
    tables = []
    for heading, (kind, name) in (named | {"Drift probe": ("drift", "")}).items():
        columns = [
            Column(group, measure.replace("_", " "), (kind, (name,), f"{way}/{measure}"))
            for group, way in zip(("image → text", "text → image"), WAYS, strict=True)
            for measure in RETRIEVAL_MEASURES
        ]
        table = make_table(results, columns)
        if table.columns:
            tables.append((heading, table))
    return tables


def language_tables(arms: Sequence[Result]) -> list[tuple[str, list[str], Rows]]:
    """(set, its arms, their rows) for each set of several languages: R@1, mean of both directions.

    The first row is the mean over languages.
    """
    found = []
    for name in dict.fromkeys(name for arm in arms for name in arm.languages):
        having = [arm for arm in arms if name in arm.languages]
        languages = sorted({language for arm in having for language in arm.languages[name]})
        rows = [(language, [_recall(arm, name, language) for arm in having]) for language in languages]
        mean = [
            None if None in column else sum(filter(None, column)) / len(languages)
            for column in zip(*(values for _, values in rows), strict=True)
        ]
        found.append((name, [arm.name for arm in having], [("all", mean), *rows]))
    return found


def _recall(arm: Result, name: str, language: str) -> float | None:
    values = arm.languages[name].get(language)
    return sum(values[way]["R@1"] for way in WAYS) / len(WAYS) if values else None

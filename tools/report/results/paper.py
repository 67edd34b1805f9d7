"""The paper's tables with the arms as rows, and the published rows that fit the results below them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tools.report import published
from tools.report.material.inputs import DIRECTIONS, Result
from tools.report.material.provenance import base_model, scale_of
from tools.report.results.comparison import Comparison
from tools.report.results.tables import (
    Column,
    Reader,
    Table,
    caption_sets,
    drift_rank,
    make_table,
    mean_of,
    mean_score,
    whole_sets,
)

RETRIEVAL = {
    "flickr30k": "Flickr30k",
    "coco": "COCO",
    "sharegpt4v": "ShareGPT4V-1k",
    "urban1k": "Urban-1k",
    "docci": "DOCCI",
    "dci": "DCI",
    "xm3600": "XM3600",
}
ZERO_SHOT = {
    "food101": "Food101",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "sun397": "SUN397",
    "cars": "Cars",
    "aircraft": "Aircraft",
    "dtd": "DTD",
    "pets": "Pets",
    "caltech101": "Caltech101",
    "flowers102": "Flowers102",
    "imagenet": "ImageNet",
}
ROBUSTNESS = {
    "imagenetv2": "ImageNet-V2",
    "imageneta": "ImageNet-A",
    "imageneto": "ImageNet-O",
    "imagenetr": "ImageNet-R",
    "imagenetsketch": "ImageNet-Sketch",
}
KINDS = {"add": "add", "replace": "replace", "swap": "swap", "obj": "object", "att": "attribute", "rel": "relation"}
BASE_MODEL, SCALE = "ViT-L/14", "3M"  # the published rows that are shown where results do not say theirs
NOTE = f"Rows in grey are published, by {published.SOURCE}: for orientation, with other data and other embedders."


@dataclass(frozen=True, slots=True)
class PaperTable:
    """A table of the paper.

    Attributes:
        heading: what it shows.
        table: the arms, and the published rows that fit their base models and data scale.
        others: the paper's other rows; None where there are none.
        note: what it measures.
    """

    heading: str
    table: Table
    others: Table | None = None
    note: str = ""


def paper_tables(comparison: Comparison) -> list[PaperTable]:
    """Every table of the paper that the results fill, with the marks of seeds and noise; empty tables are left out."""
    tables = []
    for heading, build, name, measures, note in _TABLES:
        table = comparison.table(build)
        if table.columns:
            shown, others = _published(comparison.arms, table, name, measures) if name else (table, None)
            tables.append(PaperTable(heading, shown, others, f"{note} {NOTE}" if shown.references else note))
    return tables


def retrieval(results: Sequence[Result]) -> Table:
    """R@1 of every retrieval set both ways, the paper's sets first and in its order, after the averages."""
    multilingual = {name for result in results for name in result.languages}
    names = _in_order([name for name in caption_sets(results) if name not in multilingual], RETRIEVAL)
    groups: list[tuple[str, tuple[str, ...]]] = [(title_of(name, RETRIEVAL), (name,)) for name in names]
    if len(whole := whole_sets(results)) > 1:
        groups.insert(0, (f"average of {len(whole)}", tuple(whole)))
    columns = [
        (Column(title, short, address=("retrieval", sets, f"{way}/R@1")), mean_of(sets, ("R@1",), (way,)))
        for title, sets in groups
        for short, way in zip(("I → T", "T → I"), DIRECTIONS, strict=True)
    ]
    return make_table(results, columns)


def zero_shot(results: Sequence[Result]) -> Table:
    """The accuracy of every classification set as papers report it, after the average."""
    return _scores(results, "zeroshot", ZERO_SHOT)


def robustness(results: Sequence[Result]) -> Table:
    """The accuracy on ImageNet's variants, after the average."""
    return _scores(results, "robustness", ROBUSTNESS)


def linear_probe(results: Sequence[Result]) -> Table:
    """The accuracy of linear probes on frozen image features, after the average."""
    return _scores(results, "linear_probe", ZERO_SHOT)


def composition(results: Sequence[Result]) -> Table:
    """SugarCrepe: the accuracy in each kind of hard negatives, after their mean."""
    return _kinds(results, "composition")


def fine_grained(results: Sequence[Result]) -> Table:
    """MMVP-VLM: the accuracy in each pattern, after their mean."""
    return _kinds(results, "fine_grained")


def drift(results: Sequence[Result]) -> Table:
    """The drift probe's mean rank, and CKA of tuned and original image features on every set."""
    rank = Column("drift probe", "mean rank", False, False, drift=True, address=("drift", ("",), "mean_rank"))
    columns: list[tuple[Column, Reader]] = [(rank, drift_rank)]
    names = _in_order(score_names(results, "cka"), RETRIEVAL)
    groups = [(title_of(name, RETRIEVAL), [name]) for name in names]
    groups += [("mean", names)] if len(names) > 1 else []
    for title, sets in groups:
        columns.append((Column("CKA", title, percent=False, drift=True, digits=3), mean_score("cka", sets)))
    return make_table(results, columns)


def _scores(results: Sequence[Result], kind: str, known: Mapping[str, str]) -> Table:
    names = _in_order(score_names(results, kind), known)
    parts = {name for result in results for name in result.parts}
    groups: list[tuple[str, tuple[str, ...]]] = [(title_of(name, known), (name,)) for name in names]
    if len(whole := [name for name in names if name not in parts]) > 1:
        groups.insert(0, (f"average of {len(whole)}", tuple(whole)))
    return make_table(
        results,
        [(Column("", title, address=(kind, sets, "accuracy")), mean_score(kind, sets)) for title, sets in groups],
    )


def _kinds(results: Sequence[Result], kind: str) -> Table:
    names = score_names(results, kind)
    several = sum("/" not in name for name in names) > 1
    columns: list[tuple[Column, Reader]] = []
    for name in names:
        which, _, part = name.partition("/")
        words = " ".join(KINDS.get(word, word) for word in part.split("_")) if kind == "composition" else part
        column = Column(which if several else "", words or "mean", address=(kind, (name,), "accuracy"))
        place = len(columns) if part else next((i for i, (c, _) in enumerate(columns) if c.group == column.group), 0)
        columns.insert(place, (column, mean_score(kind, [name])))
    return make_table(results, columns)


def _published(
    arms: Sequence[Result], table: Table, name: published.Name, measures: Callable[[Column], str | None]
) -> tuple[Table, Table | None]:
    """The table with the paper's rows of the results' base models and scales below, and a table of its other rows."""
    keys = [measures(column) for column in table.columns]
    if set(keys) == {None}:
        return table, None
    models, scales = {base_model(arm) for arm in arms}, {scale_of(arm) for arm in arms} - {None} or {SCALE}
    rows = published.table(name)
    models &= {row.base_model for row in rows}
    fitting: list[tuple[str, tuple[float | None, ...]]] = []
    others: list[tuple[str, tuple[float | None, ...]]] = []
    for row in rows:
        values = tuple(row.values.get(key) if key else None for key in keys)
        fits = row.base_model in (models or {BASE_MODEL}) and (row.method == "CLIP" or row.data in scales)
        (fitting if fits else others).append((f"{row.method}, {row.base_model}, {row.data}", values))
    shown = replace(table, rows=(*table.rows, *fitting), references=tuple(label for label, _ in fitting))
    kept = [index for index, key in enumerate(keys) if key]
    columns = tuple(table.columns[index] for index in kept)
    folded = tuple((label, tuple(values[index] for index in kept)) for label, values in others)
    return shown, Table(columns, folded, references=tuple(label for label, _ in others)) if others else None


def _retrieval_measure(column: Column) -> str | None:
    assert column.address is not None
    _, names, way = column.address
    known = _average_of(names, [name for name in RETRIEVAL if name != "xm3600"], RETRIEVAL)
    return f"{known}_{'i2t' if way.startswith('image') else 't2i'}" if known else None


def _class_measure(column: Column) -> str | None:
    assert column.address is not None
    return _average_of(column.address[1], list(ZERO_SHOT), ZERO_SHOT)


def _robust_measure(column: Column) -> str | None:
    assert column.address is not None
    known = _average_of(column.address[1], [], ROBUSTNESS)
    return f"imagenet_{known.removeprefix('imagenet')}" if known else None


def _unpublished(column: Column) -> str | None:
    return None


def _average_of(names: Sequence[str], whole: Sequence[str], known: Mapping[str, str]) -> str | None:
    """The paper's name of a set, or ``avg`` where the sets are those that the paper averages."""
    found = [known_set(name, known) for name in names]
    if len(names) == 1:
        return found[0]
    return "avg" if sorted(map(str, found)) == sorted(whole) else None


def score_names(results: Sequence[Result], kind: str) -> list[str]:
    """The sets, and SET/KIND, of a table of scores, in the order of first appearance."""
    return list(dict.fromkeys(name for result in results for name in result.scores.get(kind, {})))


def title_of(name: str, known: Mapping[str, str]) -> str:
    """The set's name in the paper, with the part that a name may end in: ``coco, dogs`` is ``COCO, dogs``."""
    whole, comma, part = name.partition(", ")
    found = known_set(whole, known)
    return f"{known[found]}{comma}{part}" if found else name


def known_set(name: str, names: Mapping[str, str]) -> str | None:
    """The paper's set that ``name`` means: ``coco-karpathy`` is COCO's, ``Urban-1k`` and ``urban1k`` are the same.
    Parts of sets and ImageNet's variants are no set of the paper's table 2.
    """
    plain = "".join(character for character in name.lower() if character.isalnum())
    if ", " in name or (names is ZERO_SHOT and any(plain.startswith(variant) for variant in ROBUSTNESS)):
        return None
    return max((known for known in names if plain.startswith(known)), key=len, default=None)


def _in_order(names: Sequence[str], known: Mapping[str, str]) -> list[str]:
    order = list(known)
    found = {name: known_set(name.partition(", ")[0], known) for name in names}
    return sorted(names, key=lambda name: order.index(one) if (one := found[name]) else len(order))


_Row = tuple[str, Callable[[Sequence[Result]], Table], published.Name | None, Callable[[Column], str | None], str]
_TABLES: tuple[_Row, ...] = (
    ("Retrieval, R@1 (table 1)", retrieval, "retrieval_r1", _retrieval_measure, "I → T: image to text."),
    ("Zero-shot classification (table 2)", zero_shot, "zeroshot", _class_measure, "Accuracy as papers report it."),
    ("Robustness (table 3)", robustness, "robustness", _robust_measure, "Top-1 accuracy on ImageNet's variants."),
    (
        "Composition, SugarCrepe (figure 4)",
        composition,
        None,
        _unpublished,
        "Share of true captions above hard negatives.",
    ),
    ("Fine-grained, MMVP-VLM (figure 5)", fine_grained, None, _unpublished, "Share of pairs with both images matched."),
    ("Linear probe (table 15)", linear_probe, "linear_probe", _class_measure, "On frozen image features."),
    ("Drift", drift, None, _unpublished, "CKA: 1 where tuned and original image features arrange images alike."),
)

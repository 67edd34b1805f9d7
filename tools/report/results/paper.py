"""The paper's tables with the arms as rows, and the published rows that fit the results below them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tools.evaluate.packed_ranks import WAYS
from tools.report import published
from tools.report.material.inputs import Result
from tools.report.material.provenance import base_model, scale_of
from tools.report.results.comparison import Comparison
from tools.report.results.tables import (
    Column,
    Row,
    Table,
    caption_sets,
    make_table,
    parts_of,
    score_names,
    whole_sets,
)

RETRIEVAL = {
    "flickr30k": "Flickr30k", "coco": "COCO", "sharegpt4v": "ShareGPT4V-1k", "urban1k": "Urban-1k", "docci": "DOCCI",
    "dci": "DCI", "xm3600": "XM3600",
}  # fmt: skip
ZERO_SHOT = {
    "food101": "Food101", "cifar10": "CIFAR10", "cifar100": "CIFAR100", "sun397": "SUN397", "cars": "Cars",
    "aircraft": "Aircraft", "dtd": "DTD", "pets": "Pets", "caltech101": "Caltech101", "flowers102": "Flowers102",
    "imagenet": "ImageNet",
}  # fmt: skip
ROBUSTNESS = {
    "imagenetv2": "ImageNet-V2", "imageneta": "ImageNet-A", "imageneto": "ImageNet-O", "imagenetr": "ImageNet-R",
    "imagenetsketch": "ImageNet-Sketch",
}  # fmt: skip
KINDS = {"add": "add", "replace": "replace", "swap": "swap", "obj": "object", "att": "attribute", "rel": "relation"}
BASE_MODEL, SCALE = "ViT-L/14", "3M"  # the published rows that are shown where results do not name their own
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
    for heading, build, name, note in _TABLES:
        table = comparison.table(build)
        if table.columns:
            shown, others = _with_published(comparison.arms, table, name) if name else (table, None)
            tables.append(PaperTable(heading, shown, others, f"{note} {NOTE}" if shown.references else note))
    return tables


def _retrieval(results: Sequence[Result]) -> Table:
    """R@1 of every retrieval set both ways, the paper's sets first and in its order, after the averages."""
    multilingual = {name for result in results for name in result.languages}
    names = [name for name in caption_sets(results) if name not in multilingual]
    columns = [
        Column(title, short, ("retrieval", sets, f"{way}/R@1"))
        for title, sets in _after_average(names, whole_sets(results), RETRIEVAL)
        for short, way in zip(("I → T", "T → I"), WAYS, strict=True)
    ]
    return make_table(results, columns)


def _scores(results: Sequence[Result], kind: str, known: Mapping[str, str]) -> Table:
    """The accuracy on every set, after the average."""
    names, parts = score_names(results, kind), parts_of(results)
    groups = _after_average(names, [name for name in _in_order(names, known) if name not in parts], known)
    return make_table(results, [Column("", title, (kind, sets, "accuracy")) for title, sets in groups])


def _after_average(
    names: Sequence[str], whole: Sequence[str], known: Mapping[str, str]
) -> list[tuple[str, tuple[str, ...]]]:
    """(title, sets): the average of the whole sets where there are several, then every set."""
    average = [(f"average of {len(whole)}", tuple(whole))] if len(whole) > 1 else []
    return [*average, *((title_of(name, known), (name,)) for name in _in_order(names, known))]


def _kinds(results: Sequence[Result], kind: str) -> Table:
    """The accuracy in each kind of questions, after their mean."""
    names = score_names(results, kind)
    several = sum("/" not in name for name in names) > 1
    columns: list[Column] = []
    for name in names:
        which, _, part = name.partition("/")
        words = " ".join(KINDS.get(word, word) for word in part.split("_")) if kind == "composition" else part
        column = Column(which if several else "", words or "mean", (kind, (name,), "accuracy"))
        place = len(columns) if part else next((i for i, c in enumerate(columns) if c.group == column.group), 0)
        columns.insert(place, column)
    return make_table(results, columns)


def _drift(results: Sequence[Result]) -> Table:
    """The drift probe's mean rank, and CKA of tuned and original image features on every set."""
    names = _in_order(score_names(results, "cka"), RETRIEVAL)
    groups: list[tuple[str, tuple[str, ...]]] = [(title_of(name, RETRIEVAL), (name,)) for name in names]
    groups += [("mean", tuple(names))] if len(names) > 1 else []
    rank = Column("drift probe", "mean rank", ("drift", ("",), "mean_rank"))
    return make_table(results, [rank, *(Column("CKA", title, ("cka", sets, "cka")) for title, sets in groups)])


def _with_published(arms: Sequence[Result], table: Table, name: published.Name) -> tuple[Table, Table | None]:
    """The table with the paper's rows of the results' base models and scales below, and a table of its other rows."""
    keys = [_published_key(column) for column in table.columns]
    kept = [index for index, key in enumerate(keys) if key]
    if not kept:
        return table, None
    rows = published.table(name)
    models = {base_model(arm) for arm in arms} & {row.base_model for row in rows} or {BASE_MODEL}
    scales = {scale_of(arm) for arm in arms} - {None} or {SCALE}
    fitting: list[Row] = []
    others: list[Row] = []
    for row in rows:
        values = tuple(row.values.get(key) if key else None for key in keys)
        label = f"{row.method}, {row.base_model}, {row.data}"
        if row.base_model in models and (row.method == "CLIP" or row.data in scales):
            fitting.append((label, values))
        else:
            others.append((label, tuple(values[index] for index in kept)))
    shown = replace(table, rows=(*table.rows, *fitting), references=tuple(label for label, _ in fitting))
    return shown, reference_table([table.columns[index] for index in kept], others) if others else None


def reference_table(columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    """A table of published rows alone."""
    return Table(tuple(columns), tuple(rows), references=tuple(label for label, _ in rows))


def _published_key(column: Column) -> str | None:
    """What the published table calls a measure; ``avg`` where its sets are the ones that the paper averages."""
    kind, names, measure = column.address
    known = {"retrieval": RETRIEVAL, "robustness": ROBUSTNESS}.get(kind, ZERO_SHOT)
    found = [known_set(name, known) for name in names]
    key = found[0]
    if len(names) > 1:
        whole = sorted(name for name in known if name != "xm3600") if known is not ROBUSTNESS else None
        key = "avg" if sorted(map(str, found)) == whole else None
    if key and kind == "retrieval":
        return f"{key}_{'i2t' if measure.startswith('image') else 't2i'}"
    return f"imagenet_{key.removeprefix('imagenet')}" if key and kind == "robustness" else key


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


_classes = partial(_scores, kind="zeroshot", known=ZERO_SHOT)
_variants = partial(_scores, kind="robustness", known=ROBUSTNESS)
_probes = partial(_scores, kind="linear_probe", known=ZERO_SHOT)
_contrasts = partial(_kinds, kind="composition")
_patterns = partial(_kinds, kind="fine_grained")
# heading, table, name of the published table, what it measures
_TABLES: tuple[tuple[str, Callable[[Sequence[Result]], Table], published.Name | None, str], ...] = (
    ("Retrieval, R@1 (table 1)", _retrieval, "retrieval_r1", "I → T: image to text."),
    ("Zero-shot classification (table 2)", _classes, "zeroshot", "Accuracy as papers report it."),
    ("Robustness (table 3)", _variants, "robustness", "Top-1 accuracy on ImageNet's variants."),
    ("Composition, SugarCrepe (figure 4)", _contrasts, None, "Share of true captions above hard negatives."),
    ("Fine-grained, MMVP-VLM (figure 5)", _patterns, None, "Share of pairs with both images matched."),
    ("Linear probe (table 15)", _probes, "linear_probe", "On frozen image features."),
    ("Drift", _drift, None, "CKA: 1 where tuned and original image features arrange images alike."),
)

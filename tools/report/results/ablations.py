"""The paper's ablations: components, weight of the self-distillation, base models, embedders, data and adapter."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tools.compare.arms import GROUPS
from tools.report import published
from tools.report.material.average import split_seed
from tools.report.material.inputs import Result
from tools.report.material.provenance import (
    arm_of,
    base_model,
    embedder_of,
    lambda_reg,
    num_blocks,
    num_samples,
    scale_of,
)
from tools.report.results.comparison import Comparison
from tools.report.results.paper import RETRIEVAL, ZERO_SHOT, PaperTable, known_set, score_names
from tools.report.results.tables import Column, Reader, Table, make_table, mean_of, mean_score, whole_sets

NOTE = "The columns in grey are the paper's, for ViT-L/14 tuned on 3 million pairs unless the row says otherwise."
WAYS = {"i2t": ("I → T", "image_to_text"), "t2i": ("T → I", "text_to_image")}


@dataclass(frozen=True, slots=True)
class Study:
    """An ablation.

    Attributes:
        heading: what varies, and where the paper has it.
        name: of the study among the published ablations.
        takes: whether a result takes part, by its arm.
        varies: what distinguishes the rows.
        fewest: different values of that; with fewer the study is left out.
        same: whether a published row is of the same settings as a result.
    """

    heading: str
    name: str
    takes: Callable[[str], bool]
    varies: Callable[[Result], object]
    fewest: int
    same: Callable[[published.Row, Result], bool]


def ablation_tables(comparison: Comparison) -> list[PaperTable]:
    """Every ablation that the results fill; the paper's figures are in grey next to the measured ones."""
    found = []
    for study in STUDIES:
        arms = [arm for arm in comparison.arms if study.takes(arm_of(arm) or "") and study.varies(arm) is not None]
        if len({study.varies(arm) for arm in arms}) >= study.fewest:
            table = comparison.table(_builder(study, {arm.name for arm in arms}))
            if table.columns:
                found.append(PaperTable(study.heading, table, _all_published(study), NOTE))
    return found


def _builder(study: Study, names: set[str]) -> Callable[[Sequence[Result]], Table]:
    def build(results: Sequence[Result]) -> Table:
        taking = [result for result in results if split_seed(result.name)[0] in names]
        measured = _measured(taking, _SHORT if study.name == "embedder" else ())
        paper = [(Column("paper", _label(key), published=True), _figure(study, key)) for key in _keys(study)]
        return make_table(taking, [*measured, *paper])

    return build


def _measured(results: Sequence[Result], single: Sequence[str]) -> list[tuple[Column, Reader]]:
    """ImageNet or else the mean over classification sets; R@1 both ways on average, and of the sets ``single``."""
    parts = {name for result in results for name in result.parts}
    classes = [name for name in score_names(results, "zeroshot") if name not in parts]
    imagenet = [name for name in classes if known_set(name, ZERO_SHOT) == "imagenet"][:1]
    sets, title = (imagenet, "ImageNet") if imagenet else (classes, "zero-shot")
    column = Column("measured here", title, address=("zeroshot", tuple(sets), "accuracy"))
    columns: list[tuple[Column, Reader]] = [(column, mean_score("zeroshot", sets))] if sets else []
    whole = whole_sets(results)
    groups = [("average", whole)] if whole else []
    if len(whole) > 1:
        groups += [(RETRIEVAL[known], [n for n in whole if known_set(n, RETRIEVAL) == known]) for known in single]
    for group, names in groups:
        for short, way in WAYS.values():
            if names:
                address = ("retrieval", tuple(names), f"{way}/R@1")
                column = Column("measured here", f"{group} {short}", address=address)
                columns.append((column, mean_of(names, ("R@1",), (way,))))
    return columns


_SHORT = ("coco", "flickr30k")


def _published(study: Study) -> list[published.Row]:
    """The paper's rows; among embedders also its own, whose figures are in the tables of retrieval and zero-shot."""
    rows = published.study(study.name)
    if study.name == "embedder":
        own = published.find("retrieval_r1", "ViT-L/14", "ProCLIP", "3M")
        values = dict(own.values) | {
            "imagenet": published.find("zeroshot", "ViT-L/14", "ProCLIP", "3M").values["imagenet"]
        }
        kept = {key: values[key] for row in rows for key in row.values}
        rows = [*rows, replace(own, values=kept, about=dict(rows[0].about) | {"embedder": "Llama-3-8B-CC"})]
    return rows


def _keys(study: Study) -> list[str]:
    return list(dict.fromkeys(key for row in _published(study) for key in row.values))


def _label(key: str) -> str:
    name, _, way = key.rpartition("_")
    if not name:
        return ZERO_SHOT[key]
    return f"{'average' if name == 'avg' else RETRIEVAL[name]} {WAYS[way][0]}"


def _figure(study: Study, key: str) -> Reader:
    def read(result: Result) -> float | None:
        rows = [row for row in _published(study) if study.same(row, result)]
        return rows[0].values.get(key) if rows else None

    return read


def _all_published(study: Study) -> Table:
    keys, rows = _keys(study), _published(study)
    found = []
    for row in rows:
        parts = [row.method, row.base_model, row.data]
        parts += [row.about["embedder"]] if study.name == "embedder" else []
        parts += [f"{row.about['num_blocks']} blocks"] if study.name == "scale" else []
        parts += [f"λ {row.about['lambda_reg']}"] if study.name == "lambda_reg" else []
        found.append((", ".join(parts), tuple(row.values.get(key) for key in keys)))
    columns = tuple(Column("", _label(key), published=True) for key in keys)
    return Table(columns, tuple(found), references=tuple(label for label, _ in found))


def _arm(row: published.Row, result: Result) -> bool:
    return row.about["arm"] == arm_of(result)


def _weight(row: published.Row, result: Result) -> bool:
    weight = lambda_reg(result)
    return weight is not None and abs(float(row.about["lambda_reg"]) - weight) < 1e-9


def _model(row: published.Row, result: Result) -> bool:
    return _arm(row, result) and row.base_model == base_model(result)


def _embedder(row: published.Row, result: Result) -> bool:
    plain = (embedder_of(result) or "").lower().replace("_", "-")
    return row.about["embedder"].lower() in plain


def _scale(row: published.Row, result: Result) -> bool:
    blocks = num_blocks(result)
    return row.method == _METHODS.get(_base(result)) and (row.data, row.about["num_blocks"]) == (
        scale_of(result),
        str(blocks),
    )


def _base(result: Result) -> str:
    return (arm_of(result) or "").partition("@")[0]


def _one_weight(arm: str) -> bool:
    """ProCLIP itself or with another weight alone; without self-distillation the weight is 0."""
    return arm in ("proclip", "no-distillation") or (arm.startswith("proclip@lambda_reg=") and "," not in arm)


_METHODS = {"llm2clip": "LLM2CLIP", "proclip": "ProCLIP"}
STUDIES = (
    Study("Components (table 5)", "components", lambda arm: arm in GROUPS["table5"], arm_of, 4, _arm),
    Study("Base models (table 6)", "base_model", lambda arm: arm in _METHODS, lambda r: r.clip, 2, _model),
    Study("Weight of the self-distillation (table 7)", "lambda_reg", _one_weight, lambda_reg, 2, _weight),
    Study("Embedders (figure 6)", "embedder", lambda arm: arm == "proclip", embedder_of, 2, _embedder),
    Study(
        "Data and adapter (table 14)",
        "scale",
        lambda arm: arm in GROUPS["table14"],
        lambda r: (num_samples(r) or scale_of(r), num_blocks(r)) if r.checkpoint and num_blocks(r) else None,
        2,
        _scale,
    ),
)

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
)  # fmt: skip
from tools.report.results.comparison import Comparison
from tools.report.results.paper import RETRIEVAL, ZERO_SHOT, PaperTable, known_set, reference_table
from tools.report.results.tables import (
    PUBLISHED,
    Address,
    Column,
    Table,
    make_table,
    parts_of,
    score_names,
    value_of,
    whole_sets,
)

NOTE = "The columns in grey are the paper's, for ViT-L/14 tuned on 3 million pairs unless the row says otherwise."
SHORT_WAYS = {"i2t": ("I → T", "image_to_text"), "t2i": ("T → I", "text_to_image")}


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
    rows = _published(study)

    def read(result: Result, address: Address) -> float | None:
        if address[0] != PUBLISHED:
            return value_of(result, address)
        return next((row.values.get(address[2]) for row in rows if study.same(row, result)), None)

    def build(results: Sequence[Result]) -> Table:
        taking = [result for result in results if split_seed(result.name)[0] in names]
        single = ("coco", "flickr30k") if study.name == "embedder" else ()
        return make_table(taking, [*_measured(taking, single), *_paper_columns("paper", rows)], read)

    return build


def _measured(results: Sequence[Result], single: Sequence[str]) -> list[Column]:
    """ImageNet or else the mean over classification sets; R@1 both ways on average, and of the sets ``single``."""
    parts, whole = parts_of(results), whole_sets(results)
    columns: list[Column] = []
    classes = [name for name in score_names(results, "zeroshot") if name not in parts]
    imagenet = [name for name in classes if known_set(name, ZERO_SHOT) == "imagenet"][:1]
    if sets := imagenet or classes:
        title = "ImageNet" if imagenet else "zero-shot"
        columns.append(Column("measured here", title, ("zeroshot", tuple(sets), "accuracy")))
    groups = [("average", whole)]
    if len(whole) > 1:
        groups += [(RETRIEVAL[known], [n for n in whole if known_set(n, RETRIEVAL) == known]) for known in single]
    for group, names in groups:
        for short, way in SHORT_WAYS.values() if names else ():
            columns.append(Column("measured here", f"{group} {short}", ("retrieval", tuple(names), f"{way}/R@1")))
    return columns


def _paper_columns(group: str, rows: Sequence[published.Row]) -> list[Column]:
    return [Column(group, _label(key), (PUBLISHED, (), key)) for key in _keys(rows)]


def _published(study: Study) -> list[published.Row]:
    """The paper's rows; among embedders also its own, whose figures are in the tables of retrieval and zero-shot."""
    rows = published.study(study.name)
    if study.name == "embedder":
        own = published.find("retrieval_r1", "ViT-L/14", "ProCLIP", "3M")
        imagenet = published.find("zeroshot", "ViT-L/14", "ProCLIP", "3M").values["imagenet"]
        values = {key: ({"imagenet": imagenet} | dict(own.values))[key] for key in _keys(rows)}
        rows = [*rows, replace(own, values=values, about=dict(rows[0].about) | {"embedder": "Llama-3-8B-CC"})]
    return rows


def _keys(rows: Sequence[published.Row]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row.values))


def _label(key: str) -> str:
    name, _, way = key.rpartition("_")
    if not name:
        return ZERO_SHOT[key]
    return f"{'average' if name == 'avg' else RETRIEVAL[name]} {SHORT_WAYS[way][0]}"


def _all_published(study: Study) -> Table:
    rows = _published(study)
    keys = _keys(rows)
    detail = {"embedder": "{embedder}", "scale": "{num_blocks} blocks", "lambda_reg": "λ {lambda_reg}"}.get(study.name)
    found = []
    for row in rows:
        parts = [row.method, row.base_model, row.data, *([detail.format(**row.about)] if detail else [])]
        found.append((", ".join(parts), tuple(row.values.get(key) for key in keys)))
    return reference_table(_paper_columns("", rows), found)


def _one_weight(arm: str) -> bool:
    """ProCLIP itself or with another weight alone; without self-distillation the weight is 0."""
    return arm in ("proclip", "no-distillation") or (arm.startswith("proclip@lambda_reg=") and "," not in arm)


def _scale_and_blocks(result: Result) -> object:
    scale, blocks = num_samples(result) or scale_of(result), num_blocks(result)
    return (scale, blocks) if result.checkpoint and blocks else None


def _same_weight(row: published.Row, result: Result) -> bool:
    weight = lambda_reg(result)
    return weight is not None and abs(float(row.about["lambda_reg"]) - weight) < 1e-9


def _same_scale(row: published.Row, result: Result) -> bool:
    method = _METHODS.get((arm_of(result) or "").partition("@")[0])
    return (row.method, row.data, row.about["num_blocks"]) == (method, scale_of(result), str(num_blocks(result)))


_METHODS = {"llm2clip": "LLM2CLIP", "proclip": "ProCLIP"}
STUDIES = (
    Study(
        "Components (table 5)",
        "components",
        lambda arm: arm in GROUPS["table5"],
        arm_of,
        4,
        lambda row, result: row.about["arm"] == arm_of(result),
    ),
    Study(
        "Base models (table 6)",
        "base_model",
        lambda arm: arm in _METHODS,
        lambda result: result.clip,
        2,
        lambda row, result: (row.about["arm"], row.base_model) == (arm_of(result), base_model(result)),
    ),
    Study("Weight of the self-distillation (table 7)", "lambda_reg", _one_weight, lambda_reg, 2, _same_weight),
    Study(
        "Embedders (figure 6)",
        "embedder",
        lambda arm: arm == "proclip",
        embedder_of,
        2,
        lambda row, result: row.about["embedder"].lower() in (embedder_of(result) or "").lower().replace("_", "-"),
    ),
    Study(
        "Data and adapter (table 14)",
        "scale",
        lambda arm: arm in GROUPS["table14"],
        _scale_and_blocks,
        2,
        _same_scale,
    ),
)

"""What the paper claims, measured arm against arm: retrieval (of long captions first), zero-shot accuracy, drift."""

from collections.abc import Container, Sequence
from dataclasses import dataclass

from tools.report.material.average import split_seed
from tools.report.material.inputs import Result
from tools.report.material.provenance import arm_of, point_of
from tools.report.results.comparison import Comparison
from tools.report.results.paper import RETRIEVAL, known_set
from tools.report.results.tables import Column, Table, caption_sets, make_table, parts_of, score_names, whole_sets

LONG = ("sharegpt4v", "urban1k", "docci", "dci")
SUBJECT = "proclip"
MAIN = ("clip", "llm2clip")
"""The arms that the paper compares ProCLIP with."""
NOTE = (
    "In brackets the 95 % interval of the difference, paired over queries and seeds: bootstrap of the queries, "
    "Student's t over the seeds. ▲ better and ▼ worse beyond noise; ≈ the interval holds zero."
)
PAPER = {
    "retrieval": "far above CLIP, slightly above LLM2CLIP",
    "zero-shot": "below CLIP, far above LLM2CLIP",
    "drift": "",
    "cka": "",
}
"""What the paper finds for ProCLIP, by the kind of a claim; empty where it publishes no such figure."""


@dataclass(frozen=True, slots=True)
class Cell:
    """The subject minus another arm in one measure, as shown.

    Attributes:
        difference: in points, ranks or CKA, with its sign.
        interval: of the difference; empty where the results hold no ranks.
        seeds: in how many seeds the subject is better; empty for a single seed.
        kind: ``better``, ``worse``, ``level``; empty where the arm is not comparable.
    """

    difference: str
    interval: str = ""
    seeds: str = ""
    kind: str = ""

    @property
    def sign(self) -> str:
        return {"better": "▲", "worse": "▼", "level": "≈"}.get(self.kind, "") if self.interval else ""

    @property
    def text(self) -> str:
        return " ".join(part for part in (self.sign, self.difference, self.interval, self.seeds) if part)


@dataclass(frozen=True, slots=True)
class Contest:
    """The subject against the other arms at one point of a grid: (other arm, a cell for each claim)."""

    subject: str
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def claims(results: Sequence[Result]) -> Table:
    """A column for each claim: retrieval of long captions, of other captions, and of parts; zero-shot; drift."""
    whole, parts = whole_sets(results), parts_of(results)
    long = [name for name in whole if "long" in name.lower() or known_set(name, RETRIEVAL) in LONG]
    named = [("long captions", long), ("short captions" if long else "", [n for n in whole if n not in long])]
    columns = [
        _column("retrieval", what, names, "recall")
        for what, names in [*named, *_by_part(caption_sets(results), parts)]
        if names
    ]
    classes = [name for name in score_names(results, "zeroshot") if name not in parts]
    columns.append(_column("zeroshot", "", classes, "accuracy") if classes else _column("zeroshot", "", [""], "top1"))
    for what, names in _by_part(score_names(results, "zeroshot"), parts):
        columns.append(_column("zeroshot", what, names, "accuracy"))
    columns.append(Column("drift", "drift, mean rank", ("drift", ("",), "mean_rank"), "drift"))
    cka = ("cka", tuple(score_names(results, "cka")), "cka")
    return make_table(results, [*columns, Column("cka", "likeness to CLIP, CKA", cka, "likeness to CLIP (CKA)")])


def contests(comparison: Comparison, table: Table) -> list[Contest]:
    """ProCLIP in ``table``, the comparison's :func:`claims`, against every other arm of its point.

    ProCLIP is known by its arm, or else by the start of a result's name; empty where it is absent or alone.
    """
    found: list[Contest] = []
    arms, per_seed = comparison.arms, claims(comparison.results)
    subjects = [arm for arm in arms if arm_of(arm) == SUBJECT]
    for arm in subjects or [arm for arm in arms if arm.name.lower().startswith(SUBJECT)][:1]:
        point = point_of(arm)
        rows: list[tuple[str, tuple[Cell, ...]]] = []
        for other in arms:
            theirs = point_of(other)
            # CLIP itself depends on the base model alone
            same = theirs == point or (other.checkpoint is None and (not theirs or point.startswith(theirs)))
            if same and other.name != arm.name:
                indices = range(len(table.columns))
                cells = (_cell(comparison, per_seed, table, index, arm.name, other.name) for index in indices)
                rows.append((other.name, tuple(cells)))
        if rows:
            found.append(Contest(arm.name, tuple(rows)))
    return found


def headline(comparison: Comparison, table: Table, found: Sequence[Contest]) -> str:
    """What was shown, in sentences: for each claim which arms the subject is better, worse and no different than."""
    arms = comparison.arms
    if not arms:
        return "These runs have not been evaluated yet."
    if len(arms) == 1:
        pairs = zip(table.columns, table.rows[0][1], strict=True)
        shown = ", ".join(f"{column.phrase} {column.text(value)}" for column, value in pairs if value is not None)
        return f"{arms[0].name} on {arms[0].num_images:,} images: {shown}."
    if found:
        return " ".join(_sentences(contest, table, comparison) for contest in found)
    leads: dict[str, list[str]] = {}
    for index, column in enumerate(table.columns):
        for arm, _ in table.rows:
            if table.is_best(arm, index):
                leads.setdefault(arm, []).append(column.phrase)
    best = "; ".join(f"{arm} in {_listed(phrases)}" for arm, phrases in leads.items())
    return f"Best arms: {best}." if best else "The arms share no measure."


def _sentences(contest: Contest, table: Table, comparison: Comparison) -> str:
    main = {arm.name for arm in comparison.arms if arm_of(arm) in MAIN}
    rows = [row for row in contest.rows if row[0] in main] or list(contest.rows)
    same: dict[str, list[str]] = {}
    for index, column in enumerate(table.columns):
        outcome = _outcome([(arm, cells[index]) for arm, cells in rows])
        if outcome and column.group != "cka":  # it has no interval, so that nothing is shown
            same.setdefault(outcome, []).append(column.phrase)
    if not same:
        return f"{contest.subject} shares no measure with another arm."
    subjects = [contest.subject, *["it"] * len(same)]
    text = " ".join(
        f"In {_listed(p)}, {who} is {outcome}." for (outcome, p), who in zip(same.items(), subjects, strict=False)
    )
    known = any(cell.interval for _, cells in contest.rows for cell in cells)
    return text if known else f"{text} Whether that is more than chance is not known: the results hold no ranks."


def _outcome(cells: Sequence[tuple[str, Cell]]) -> str:
    """``better than CLIP and LLM2CLIP``, ``better than LLM2CLIP but worse than CLIP``; empty without a comparison."""
    words = {"better": "better than", "level": "no different beyond noise from", "worse": "worse than"}
    kinds = {kind: [arm for arm, cell in cells if cell.kind == kind] for kind in words}
    parts = [f"{words[kind]} {_listed(arms)}" for kind, arms in kinds.items() if arms]
    return " but ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def _cell(comparison: Comparison, per_seed: Table, table: Table, index: int, subject: str, other: str) -> Cell:
    column, values = table.columns[index], dict(table.ranking(index))
    if not {subject, other} <= values.keys():
        return Cell("-")
    found, factor = comparison.difference(subject, other, column), column.factor
    value = factor * found.value if found else values[subject] - values[other]
    level = found.within_noise if found else not value
    kind = "level" if level else "better" if (value > 0) == column.higher_is_better else "worse"
    interval = f"[{_signed(factor * found.low, column)}, {_signed(factor * found.high, column)}]" if found else ""
    return Cell(_signed(value, column), interval, _wins(per_seed, column, subject, other), kind)


def _wins(per_seed: Table, column: Column, subject: str, other: str) -> str:
    """In how many seeds the subject is better; an arm without seeds is compared with every seed."""
    index = next((index for index, one in enumerate(per_seed.columns) if one.name == column.name), None)
    values = [(*split_seed(name), value) for name, value in per_seed.ranking(index)] if index is not None else []
    ours, theirs = ({seed: value for arm, seed, value in values if arm == name} for name in (subject, other))
    pairs = [(ours[one], theirs[two]) for one in ours for two in theirs if one == two or one is None or two is None]
    won = sum(own != value and (own > value) == column.higher_is_better for own, value in pairs)
    return f"{won} of {len(pairs)} seeds" if len(pairs) > 1 else ""


def _by_part(names: Sequence[str], parts: Container[str]) -> list[tuple[str, list[str]]]:
    """(part, the sets ``SET, PART`` of it)."""
    found: dict[str, list[str]] = {}
    for name in names:
        if name in parts:
            found.setdefault(name.rpartition(", ")[2], []).append(name)
    return list(found.items())


def _column(kind: str, what: str, names: Sequence[str], measure: str) -> Column:
    group, title, word = "zero-shot", "zero-shot accuracy", "on"
    if kind == "retrieval":
        group, title, word = kind, kind, "of"
    name, phrase = (f"{title}, {what}", f"{title} {word} {what}") if what else (title, title)
    return Column(group, name, (kind, tuple(names), measure), phrase)


def _signed(value: float, column: Column) -> str:
    return f"{value:+.{column.digits}f}".replace("-", "\N{MINUS SIGN}")


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))

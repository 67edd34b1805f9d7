"""What both forms of the report, HTML and Markdown, are made from."""

import datetime
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import takewhile
from pathlib import PurePath

from tools.report.material.average import split_seed
from tools.report.material.conditions import chance, conditions, doubts
from tools.report.material.inputs import Material
from tools.report.material.provenance import arm_of
from tools.report.results.ablations import ablation_tables
from tools.report.results.claims import claims, contests, headline
from tools.report.results.comparison import Comparison
from tools.report.results.paper import paper_tables
from tools.report.results.summary import summary

TITLE = "Ways to tune CLIP, compared"


class Report:
    """The material, and what is computed from it once.

    Attributes:
        material: runs, results and uses as read.
        title: heading; by default it names the experiment, the folder that all inputs are in.
        notes: sentences below the heading.
        made: version of keyclip and date.
        comparison: all results side by side.
        main: the same without the variants of arms that the ablations show.
        summary, claims, contests, headline, paper_tables, ablations: what the results say.
        conditions, doubts: sentences on how they were measured.
        chance: how far chance moves a measure; None where intervals say it, or without results.
    """

    def __init__(
        self,
        material: Material,
        title: str | None = None,
        notes: Sequence[str] = (),
        pretraining: str | None = None,
        date: datetime.date | None = None,
    ) -> None:
        """``pretraining`` is a sentence on what the CLIP's pretraining has seen; None for what is known of it."""
        experiment = _experiment(material)
        self.material, self.notes = material, notes
        self.title = title or (f"{experiment}: {TITLE[0].lower()}{TITLE[1:]}" if experiment else TITLE)
        date = date or datetime.date.today()
        self.made = f"keyclip {_version()}, {date.day} {date:%B %Y}"
        self.comparison = self.main = Comparison(material.results)
        self.ablations = ablation_tables(self.comparison)
        shown = {arm for one in self.ablations for arm, _ in one.table.rows}
        names = {arm.name for arm in self.comparison.arms if "@" in (arm_of(arm) or "") and arm.name in shown}
        kept = [result for result in material.results if split_seed(result.name)[0] not in names]
        if names and kept:
            self.main = Comparison(kept)
        self.summary, self.claims = self.main.table(summary), self.main.table(claims)
        self.contests = contests(self.main, self.claims)
        self.headline = headline(self.main, self.claims, self.contests)
        self.paper_tables = paper_tables(self.main)
        self.conditions = conditions(material, self.main.arms, pretraining)
        self.doubts = doubts(material.results)
        known = any(cell.interval for contest in self.contests for _, cells in contest.rows for cell in cells)
        self.chance = chance(material.results) if material.results and not known else None


def _experiment(material: Material) -> str:
    """The innermost folder that all inputs are in; empty where they have none in common."""
    paths = [run.path for run in material.runs] + [result.path for result in material.results]
    parts = [PurePath(path).parent.parts for path in paths]
    shared = [level[0] for level in takewhile(lambda level: len(set(level)) == 1, zip(*parts, strict=False))]
    while shared and shared[-1] in ("results", "runs", "..", "."):
        shared.pop()
    return shared[-1].strip("/") if shared else ""


def _version() -> str:
    try:
        return version("keyclip")
    except PackageNotFoundError:
        return "(not installed)"

"""The report: one HTML file with everything inside, for the screen and for paper, from the folder ``templates``."""

from functools import cache

import jinja2

from tools.compare import reuse
from tools.report.material import settings, sources
from tools.report.material.average import seeds_in_words
from tools.report.pages import charts, examples, training
from tools.report.pages.contents import Report
from tools.report.pages.terminal import marks
from tools.report.results import claims, summary

START = "<!doctype html>\n<!-- keyclip report -->\n"
"""What every report begins with."""


def render(report: Report) -> str:
    """A complete HTML document that compares the arms and shows how they were trained.

    Results named ``ARM (seed N)`` are averaged over the seeds of an arm. The document loads nothing from elsewhere:
    style, charts and pictures are inside. All texts are escaped.
    """
    material, arms = report.material, report.main.arms
    sections = {
        "verdict": ("What was shown", bool(arms)),
        "results": ("Results", bool(arms)),
        "tables": ("The paper's tables", bool(report.paper_tables)),
        "ablations": ("Ablations", bool(report.ablations)),
        "languages": ("Languages", any(arm.languages for arm in arms)),
        "examples": ("Retrieved images", any(arm.examples for arm in arms)),
        "training": ("Training", bool(material.runs)),
        "embeddings": ("Embedded once", bool(material.uses)),
        "settings": ("Settings", bool(material.runs)),
        "sources": ("Where this comes from", True),
    }
    text = (
        _templates()
        .get_template("report.html")
        .render(
            report=report,
            material=material,
            arms=arms,
            sections={name: heading for name, (heading, shown) in sections.items() if shown},
            seeds=seeds_in_words(arms) if any(arm.num_seeds > 1 for arm in arms) else "",
            legend=_legend(report) if arms else [],
            details=summary.details(arms),
            claims=claims,
            languages=summary.language_tables(arms),
            cards=examples.cards(arms),
            most_cards=examples.SHOWN,
            stages=training.stages(material.runs),
            charts=charts,
            reuse=reuse,
            settings=settings,
            sources=sources,
        )
    )
    return f"{START}{text}\n"


def _legend(report: Report) -> list[tuple[str, str]]:
    shown = {word for column in report.summary.columns for word in (column.group, column.name)}
    signs = [text.partition(": ") for text in marks(report.main, report.summary)]
    return [pair for pair in summary.LEGEND if pair[0] in shown] + [(sign, meaning) for sign, _, meaning in signs]


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("tools.report.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

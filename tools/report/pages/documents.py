"""The report as an HTML file with everything inside and as Markdown, from the folder ``templates``."""

import re
from collections.abc import Sequence

import jinja2

from tools.compare import reuse
from tools.report.material import settings, sources
from tools.report.material.average import seeds_in_words
from tools.report.pages import charts, examples, training
from tools.report.pages.contents import Report
from tools.report.pages.terminal import marks
from tools.report.results import claims, summary
from tools.report.results.tables import Table

HTML_START = "<!doctype html>\n<!-- keyclip report -->\n"
"""What every HTML report begins with."""
MARKDOWN_START = "<!-- keyclip report -->\n\n"
"""What every Markdown report begins with."""
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&!])")


def html(report: Report) -> str:
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
    shown = {word for column in report.summary.columns for word in (column.group, column.name)}
    signs = [text.partition(": ") for text in marks(report.main, report.summary)]
    text = _render(
        "report.html",
        report,
        sections={name: heading for name, (heading, is_shown) in sections.items() if is_shown},
        seeds=seeds_in_words(arms) if any(arm.num_seeds > 1 for arm in arms) else "",
        legend=[pair for pair in summary.LEGEND if pair[0] in shown] + [(sign, meaning) for sign, _, meaning in signs],
        most_cards=examples.SHOWN,
        stages=training.stages(material.runs),
        charts=charts,
    )
    return f"{HTML_START}{text}\n"


def markdown(report: Report) -> str:
    """The sentences and tables of the report, for pull requests and notes; texts are escaped."""
    text = _render(
        "report.md",
        report,
        marks=marks(report.main, report.summary),
        table=markdown_table,
        rows=_rows,
        contest_lines=_contest_lines,
        language_lines=_language_lines,
        places=_places,
    )
    return MARKDOWN_START + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _render(template: str, report: Report, **more: object) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tools.report.pages"),
        autoescape=template.endswith(".html"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["md"] = _escape
    arms = report.main.arms
    return environment.get_template(template).render(
        report=report,
        material=report.material,
        arms=arms,
        details=summary.details(arms),
        claims=claims,
        languages=summary.language_tables(arms),
        cards=examples.cards(arms),
        reuse=reuse,
        settings=settings,
        sources=sources,
        **more,
    )


def markdown_table(table: Table) -> str:
    """A table as Markdown; the best of a column is bold, published rows and columns are in italics."""
    header = ["arm", *(f"{column.group}: {column.name} {column.arrow}".removeprefix(": ") for column in table.columns)]
    lines = [[_escape(name) for name in header], ["---", *("---:" for _ in table.columns)]]
    for arm, _ in table.rows:
        cells = []
        for index, column in enumerate(table.columns):
            text = table.text(arm, index)
            mark = "**" if table.is_best(arm, index) else "*" if column.published and text != "-" else ""
            cells.append(f"{mark}{text}{mark}")
        lines.append([f"*{_escape(arm)}*" if arm in table.references else _escape(arm), *cells])
    return _joined(lines)


def _rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return _joined([list(map(_escape, columns)), ["---"] * len(columns), *(list(map(_escape, row)) for row in rows)])


def _contest_lines(contest: claims.Contest, table: Table) -> list[list[str]]:
    lines = [[arm, *(cell.text for cell in cells)] for arm, cells in contest.rows]
    return [*lines, ["the paper finds", *(claims.PAPER[column.group] for column in table.columns)]]


def _language_lines(rows: summary.Rows) -> list[list[str]]:
    return [[language, *("-" if v is None else f"{100 * v:.1f} %" for v in values)] for language, values in rows]


def _places(cards: Sequence[examples.Card]) -> tuple[list[str], list[list[str]]]:
    """Columns and lines: at which rank each arm has found the image of each caption."""
    arms = list(dict.fromkeys(arm for card in cards for arm, *_ in card.answers))
    places = [{arm: place for arm, place, _ in card.answers} for card in cards]
    lines = [[c.caption, c.key, *(of.get(arm, "-") for arm in arms)] for c, of in zip(cards, places, strict=True)]
    return ["caption", "image", *arms], lines


def _joined(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _escape(text: str) -> str:
    """Text on one line, of which nothing is markup."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))

"""The report as Markdown: its sentences and tables, for pull requests and notes; texts are escaped."""

import re
from collections.abc import Sequence

from tools.compare import reuse
from tools.report.material import settings, sources
from tools.report.pages import examples
from tools.report.pages.contents import Report
from tools.report.pages.terminal import marks
from tools.report.results import claims
from tools.report.results.paper import PaperTable
from tools.report.results.summary import details, language_tables
from tools.report.results.tables import Table

START = "<!-- keyclip report -->\n\n"
"""What every report begins with."""
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&!])")


def render(report: Report) -> str:
    """Headline, tables and settings; charts and pictures are in the HTML form."""
    material, arms = report.material, report.main.arms
    blocks = [f"# {escape(report.title)}", escape(report.made), *map(escape, report.notes)]
    if arms:
        blocks += [*_verdict(report), "## Results", markdown_table(report.summary)]
        blocks += map(escape, marks(report.main, report.summary))
        blocks += _paper_tables("## The paper's tables", report.paper_tables)
        blocks += _paper_tables("## Ablations", report.ablations)
        blocks += ["## Retrieval in full"] if (every := details(arms)) else []
        blocks += [text for heading, table in every for text in (f"### {escape(heading)}", markdown_table(table))]
    for name, names, rows in language_tables(arms):
        lines = [[row, *("-" if v is None else f"{100 * v:.1f} %" for v in values)] for row, values in rows]
        blocks += [f"## Languages, R@1 (mean of both directions): {escape(name)}", _rows(["language", *names], lines)]
    if cards := examples.cards(arms):
        names = list(dict.fromkeys(arm for card in cards for arm, *_ in card.answers))
        places = [{arm: place for arm, place, _ in card.answers} for card in cards]
        lines = [[c.caption, c.key, *(of.get(n, "-") for n in names)] for c, of in zip(cards, places, strict=True)]
        blocks += ["## Retrieved images", _rows(["caption", "image", *names], lines)]
    if material.uses:
        blocks += ["## Embedded once", reuse.sentence(material.uses)]
        blocks += [_rows(reuse.COLUMNS, [use.row for use in material.uses])]
    if material.runs:
        blocks += ["## Settings", *_settings(report)]
        if fields := sources.field_rows(material.runs):
            blocks += ["## Vectors", _rows(sources.FIELD_COLUMNS, fields)]
    return START + "\n\n".join(blocks) + "\n"


def escape(text: str) -> str:
    """Text on one line, of which nothing is markup."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def markdown_table(table: Table, first: str = "arm") -> str:
    """A table as Markdown; the best of a column is bold, published rows and columns are in italics."""
    header = [first, *(f"{column.group}: {column.name} {column.arrow}".removeprefix(": ") for column in table.columns)]
    lines = [[escape(name) for name in header], ["---", *("---:" for _ in table.columns)]]
    for arm, _ in table.rows:
        cells = []
        for index, column in enumerate(table.columns):
            text = table.text(arm, index)
            bold = "**" if table.is_best(arm, index) else "*" if column.published and text != "-" else ""
            cells.append(f"{bold}{text}{bold}")
        lines.append([f"*{escape(arm)}*" if arm in table.references else escape(arm), *cells])
    return _joined(lines)


def _verdict(report: Report) -> list[str]:
    blocks = ["## What was shown", *map(escape, [report.headline, *report.doubts])]
    columns = ["against", *(column.name for column in report.claims.columns)]
    for contest in report.contests:
        rows = [[arm, *(cell.text for cell in cells)] for arm, cells in contest.rows]
        rows.append(["the paper finds", *(claims.PAPER[column.group] for column in report.claims.columns)])
        blocks += [f"### {escape(contest.subject)} minus the other arms", _rows(columns, rows)]
    if report.contests and not report.chance:
        blocks.append(claims.NOTE)
    blocks += [report.chance] if report.chance else []
    return [*blocks, "### Conditions", "\n".join(f"- {escape(sentence)}" for sentence in report.conditions)]


def _paper_tables(heading: str, tables: Sequence[PaperTable]) -> list[str]:
    blocks = [heading] if tables else []
    for one in tables:
        blocks += [f"### {escape(one.heading)}", markdown_table(one.table), escape(one.note)]
    return blocks


def _settings(report: Report) -> list[str]:
    blocks = []
    for stage in settings.stages(report.material.runs):
        blocks += [f"### {escape(stage.name)}"] if stage.name else []
        blocks += [_rows(["setting", *stage.columns], stage.differing)] if stage.differing else []
        if stage.shared:
            blocks.append("Shared: " + ", ".join(f"{escape(n)} {escape(value)}" for n, value in stage.shared.items()))
    return blocks


def _rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return _joined([list(map(escape, columns)), ["---"] * len(columns), *(list(map(escape, row)) for row in rows)])


def _joined(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)

"""The report as Markdown: its sentences and tables, for pull requests and notes."""

from collections.abc import Sequence

from tools.reporting import embeddings, languages, pairs, settings, sources
from tools.reporting.compare import details
from tools.reporting.report import Report
from tools.reporting.results import paper_tables
from tools.reporting.table import markdown_rows, markdown_table, marks
from tools.reporting.verdict import noise

START = "<!-- keyclip report -->\n\n"
"""What every report begins with."""


def render(report: Report) -> str:
    """Headline, tables and settings; charts and pictures are in the HTML form."""
    material, arms = report.material, report.comparison.arms
    blocks = [f"# {report.title}", *report.notes]
    if arms:
        blocks += [*_verdict(report), *_results(report)]
    if found := list(dict.fromkeys(name for arm in arms for name in arm.languages)):
        blocks += ["## Languages, R@1 (mean of both directions)", *(_languages(report, name) for name in found)]
    if material.uses:
        blocks += [
            "## Embedded once",
            embeddings.sentence(material.uses),
            _rows(embeddings.COLUMNS, embeddings.rows(material.uses)),
        ]
    if material.runs:
        blocks += ["## Settings", *_settings(report)]
        if fields := sources.field_rows(material.runs):
            blocks += ["## Vectors", _rows(sources.FIELD_COLUMNS, fields)]
    return START + "\n\n".join(blocks) + "\n"


def _verdict(report: Report) -> list[str]:
    blocks = ["## Verdict", report.verdict.headline, *report.doubts()]
    if found := pairs.pairs(report):
        columns = ["against", *(column.phrase for column in report.summary.columns)]
        blocks += [f"### {report.verdict.subject} minus the other arms"]
        blocks += [_rows(columns, [[arm, *pairs.markdown_cells(cells)] for arm, cells in found]), pairs.NOTE]
    if chance := noise(report.comparison.results):
        blocks.append(chance)
    return blocks


def _results(report: Report) -> list[str]:
    blocks = ["## Results", markdown_table(report.summary), *marks(report.comparison, report.summary)]
    for heading, table in [*paper_tables(report), *details(report.comparison.arms)]:
        blocks += [f"### {heading}", markdown_table(table)]
    return blocks


def _languages(report: Report, name: str) -> str:
    arms = [arm for arm in report.comparison.arms if name in arm.languages]
    lines = [
        [language, *("-" if value is None else f"{100 * value:.1f} %" for value in values)]
        for language, values in languages.rows(name, arms)
    ]
    return f"### {name}\n\n" + _rows(["language", *(arm.name for arm in arms)], lines)


def _settings(report: Report) -> list[str]:
    blocks = []
    for stage in settings.by_stage(report.material.runs):
        blocks += [f"### {stage.name}"] if stage.name else []
        if stage.differing:
            blocks.append(_rows(["setting", *stage.columns], [[name, *row] for name, row in stage.differing]))
        if stage.shared:
            blocks.append("Shared: " + ", ".join(f"{name} `{value}`" for name, value in stage.shared.items()))
    return blocks


def _rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown_rows([columns, ["---"] * len(columns), *rows])

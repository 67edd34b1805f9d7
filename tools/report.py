"""``keyclip report``: one self-contained HTML file that compares runs."""

from dataclasses import dataclass
from pathlib import Path

from store.errors import ConfigError
from store.settings import Positional
from tools.reporting import html, inputs, markdown
from tools.reporting.report import Report
from tools.reporting.table import comparison_text, text_table


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Write one HTML file with a verdict, the result tables, loss curves, retrieved images and settings.

    Give it folders of training runs (config.json, log.jsonl) and json files that `keyclip eval` wrote, in the order in
    which they shall appear. Results named `ARM (seed N)` are averaged over the seeds of an arm. The file holds
    everything that it shows and loads nothing.

    Example: keyclip report runs/stage1 runs/proclip results/clip.json results/proclip.json --output report.html
    """

    inputs: Positional[tuple[Path, ...]]
    """Run folders and result files."""
    output: Path
    """The HTML file to write; an existing one is replaced."""
    markdown: Path | None = None
    """A Markdown file to write too: the tables and sentences of the report, without charts and pictures."""
    title: str = "Captions embedded once: arms compared"
    """Heading of the report."""
    notes: tuple[str, ...] = ()
    """Sentences below the heading, such as the command that made the runs."""


def run(config: Config) -> int | None:
    """Write the report; prints the headline, the summary table and the file's name."""
    if config.output.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--output {str(config.output)!r} must be the name of an .html file")
    material = inputs.load(config.inputs)
    report = Report(material, config.title, config.notes)
    write(config.output, html.render(report))
    if config.markdown:
        write(config.markdown, markdown.render(report))
    if len(material.results) == 1:
        print(f"{text_table(material.results)}\n")
    elif material.results:
        print(f"{report.verdict.headline}\n\n{comparison_text(report.comparison)}\n")
    print(f"report: {config.output}")
    return None


def write(output: Path, document: str) -> None:
    """Write the document so that the file is complete or not there."""
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.tmp")
    temporary.write_text(document, encoding="utf-8")
    temporary.replace(output)

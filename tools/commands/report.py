"""``keyclip report``: one self-contained HTML file that compares runs."""

from dataclasses import dataclass
from pathlib import Path

from store.common.errors import ConfigError
from store.common.outputs import Kind, Outputs
from store.common.settings import Positional
from tools.report.material import inputs
from tools.report.pages import documents
from tools.report.pages.contents import Report
from tools.report.pages.terminal import comparison_text, text_table

HTML = Kind(name="an HTML file", start=b"<!doctype html>", replaced=documents.HTML_START.encode())
MARKDOWN = Kind(name="a Markdown file", replaced=documents.MARKDOWN_START.encode())


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Write one HTML file that says what was shown, with the paper's tables, loss curves, images and settings.

    Give it folders of training runs (config.json, log.jsonl) and json files that `keyclip eval` wrote, in the order in
    which they shall appear. Results named `ARM (seed N)` are averaged over the seeds of an arm. The file holds
    everything that it shows and loads nothing.

    Example: keyclip report runs/stage1 runs/proclip results/clip.json results/proclip.json --output report.html
    """

    inputs: Positional[tuple[Path, ...]]
    """Run folders and result files."""
    output: Path
    """The HTML file to write; an older report is replaced."""
    markdown: Path | None = None
    """A Markdown file to write too: the tables and sentences of the report, without charts and pictures."""
    overwrite: bool = False
    """Replace other HTML and Markdown files that are there."""
    title: str | None = None
    """Heading of the report; by default it names the folder that all inputs are in."""
    notes: tuple[str, ...] = ()
    """Sentences below the heading, such as the command that made the runs."""
    pretraining: str | None = None
    """What the CLIP's pretraining has seen, in a sentence; known by default for the weights of OpenAI and others."""


def run(config: Config) -> int | None:
    """Write the report; prints the headline, the summary table and the file's name."""
    if config.output.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--output {str(config.output)!r} must be the name of an .html file")
    with Outputs(config.inputs, config.overwrite) as outputs:
        page = outputs.claim(config.output, HTML)
        text = outputs.claim(config.markdown, MARKDOWN) if config.markdown else None
        material = inputs.load(config.inputs)
        report = Report(material, config.title, config.notes, config.pretraining)
        outputs.write(page, documents.html(report))
        if text:
            outputs.write(text, documents.markdown(report))
    if len(material.results) == 1:
        print(f"{text_table(material.results)}\n")
    elif material.results:
        print(f"{report.headline}\n\n{comparison_text(report.comparison)}\n")
    print(f"report: {config.output}")
    return None

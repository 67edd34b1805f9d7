"""The report: one HTML file with everything inside, for the screen and for paper."""

from tools.reporting import embeddings, examples, languages, pairs, results, settings, sources, training
from tools.reporting.average import seeds_in_words
from tools.reporting.element import Markup, group, tag
from tools.reporting.report import Report
from tools.reporting.style import STYLE
from tools.reporting.verdict import noise

START = "<!doctype html>\n<!-- keyclip report -->\n"
"""What every report begins with."""


def render(report: Report) -> str:
    """A complete HTML document that compares the arms and shows how they were trained.

    Results named ``ARM (seed N)`` are averaged over the seeds of an arm. The document loads nothing from elsewhere:
    style, charts and pictures are inside. All texts are escaped.
    """
    runs, uses, arms, title = report.material.runs, report.material.uses, report.comparison.arms, report.title
    sections = [
        ("verdict", "Verdict", _verdict(report) if arms else None),
        ("results", "Results", results.section(report) if arms else None),
        ("languages", "Languages", languages.section(arms)),
        ("examples", "Retrieved images", examples.section(arms)),
        ("training", "Training", training.curves(runs) if runs else None),
        ("embeddings", "Embedded once", embeddings.section(uses) if uses else None),
        ("settings", "Settings", settings.section(runs) if runs else None),
        ("sources", "Where this comes from", sources.section(report.material)),
    ]
    shown = [(anchor, heading, content) for anchor, heading, content in sections if content is not None]
    body = group(
        tag(
            "header",
            tag("h1", title),
            [tag("p", note, class_="note") for note in report.notes],
            tag("nav", [tag("a", heading, href=f"#{anchor}") for anchor, heading, _ in shown]),
        ),
        tag("main", [tag("section", tag("h2", heading), content, id=anchor) for anchor, heading, content in shown]),
    )
    head = group(
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("title", title),
        tag("style", Markup(STYLE)),
    )
    return f"{START}{tag('html', tag('head', head), tag('body', body), lang='en')}\n"


def _verdict(report: Report) -> Markup:
    judged, comparison = report.verdict, report.comparison
    lists = [
        tag("div", tag("h3", heading), tag("ul", [tag("li", line) for line in lines]), class_=kind)
        for heading, kind, lines in (
            (f"Where {judged.subject} wins", "wins", judged.wins),
            ("Where it does not", "losses", judged.losses),
        )
        if lines
    ]
    differences = pairs.section(report)
    chance = None if report.verdict.subject and differences else noise(comparison.results)
    means = f"Means of {seeds_in_words(comparison.arms)} ± standard deviation." if report.summary.spread else None
    return group(
        tag("p", judged.headline, class_="headline"),
        tag("p", means, class_="note") if means else None,
        [tag("p", doubt, class_="warning") for doubt in report.doubts()],
        tag("div", lists, class_="columns") if lists else None,
        differences,
        tag("p", chance, class_="note") if chance else None,
    )


# the document may show its own style and pictures, and nothing else
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

"""The report: one HTML file with everything inside, for the screen and for paper."""

from collections.abc import Sequence

from tools.reporting import embeddings, examples, results, training
from tools.reporting.average import average_results
from tools.reporting.element import Markup, group, tag
from tools.reporting.inputs import Material, Result, Run
from tools.reporting.style import STYLE
from tools.reporting.verdict import noise, verdict


def render(material: Material, title: str, notes: Sequence[str] = ()) -> str:
    """A complete HTML document that compares the arms and shows how they were trained.

    Results named ``ARM (seed N)`` are averaged over the seeds of an arm. The document loads nothing from elsewhere:
    style, charts and pictures are inside. All texts are escaped. Equal inputs give equal documents. ``notes`` are
    sentences that stand below the title.
    """
    runs, evaluations, uses = material.runs, material.results, material.uses
    arms = average_results(evaluations)
    sections = [
        ("verdict", "Verdict", _verdict(arms, evaluations) if arms else None),
        ("results", "Results", results.section(arms, evaluations) if arms else None),
        ("examples", "Retrieved images", examples.section(arms)),
        ("training", "Training", training.curves(runs) if runs else None),
        ("embeddings", "Embedded once", embeddings.section(uses) if uses else None),
        ("settings", "Settings", training.settings(runs) if runs else None),
        ("sources", "Where this comes from", _sources(runs, evaluations)),
    ]
    shown = [(anchor, heading, content) for anchor, heading, content in sections if content is not None]
    body = group(
        tag(
            "header",
            tag("h1", title),
            [tag("p", note, class_="note") for note in notes],
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
    return f"<!doctype html>\n{tag('html', tag('head', head), tag('body', body), lang='en')}\n"


def _verdict(arms: Sequence[Result], evaluations: Sequence[Result]) -> Markup:
    judged = verdict(arms)
    lists = [
        tag("div", tag("h3", heading), tag("ul", [tag("li", line) for line in lines]), class_=kind)
        for heading, kind, lines in (
            (f"Where {judged.subject} wins", "wins", judged.wins),
            ("Where it does not", "losses", judged.losses),
        )
        if lines
    ]
    remarks = [tag("p", remark, class_="warning") for remark in _doubts(evaluations)]
    chance = noise(evaluations)
    seeds = max(arm.num_seeds for arm in arms)
    return group(
        tag("p", judged.headline, class_="headline"),
        tag(
            "p",
            f"Means of {seeds} seeds ± standard deviation; in small print the lowest and the highest.",
            class_="note",
        )
        if seeds > 1
        else None,
        remarks,
        tag("div", lists, class_="columns") if lists else None,
        results.seed_table(evaluations, judged.subject) if seeds > 1 else None,
        tag("p", chance, class_="note") if chance else None,
    )


def _doubts(evaluations: Sequence[Result]) -> list[str]:
    """What speaks against comparing these results."""
    doubts = []
    if len({(tuple(result.shards), result.num_images) for result in evaluations}) > 1:
        counts = ", ".join(f"{result.name}: {result.num_images:,} images" for result in evaluations)
        doubts.append(f"These results were not measured on the same images ({counts}); do not compare them.")
    if len({result.clip for result in evaluations}) > 1:
        doubts.append("These results start from different CLIP models; compare them with care.")
    return doubts


def _sources(runs: Sequence[Run], evaluations: Sequence[Result]) -> Markup:
    rows = [
        tag(
            "tr",
            tag("th", result.name, scope="row"),
            tag("td", tag("code", str(result.path))),
            tag("td", tag("code", result.checkpoint) if result.checkpoint else "none, the CLIP as it is"),
            tag("td", tag("code", result.clip)),
            tag(
                "td",
                f"{result.num_images:,} images of ",
                [tag("code", shard, " ") for shard in result.shards[:3]],
                f"and {len(result.shards) - 3} more shards" if len(result.shards) > 3 else None,
            ),
        )
        for result in evaluations
    ]
    header = [tag("th", name, scope="col") for name in ("arm", "result", "checkpoint", "CLIP", "evaluated on")]
    trained = [
        tag("li", run.name, ": ", tag("code", str(run.path)), f", {len(run.log):,} logged steps up to {_last(run):,}")
        for run in runs
    ]
    return group(
        tag("div", tag("table", tag("tr", header), rows), class_="scroll") if rows else None,
        group(tag("h3", "Runs"), tag("ul", trained)) if trained else None,
    )


def _last(run: Run) -> int:
    return int(run.log[-1]["step"])


# the document may show its own style and pictures, and nothing else
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

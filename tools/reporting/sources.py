"""Where the report's numbers come from: results, runs, models and the fields of vectors."""

from collections.abc import Sequence
from pathlib import Path

import store
from store.errors import KeyclipError
from tools.reporting.element import Markup, group, tag
from tools.reporting.inputs import Material, Result, Run

FIELD_COLUMNS = ("field", "model", "revision", "text", "vectors", "stored as", "store")


def section(material: Material) -> Markup:
    """Results with their checkpoints and shards, runs with their folders, fields with the models that made them."""
    rows = field_rows(material.runs)
    return group(
        _results(material.results) if material.results else None,
        group(tag("h3", "Vectors"), _table(FIELD_COLUMNS, rows)) if rows else None,
        group(tag("h3", "Runs"), tag("ul", [_run(run) for run in material.runs])) if material.runs else None,
    )


def field_rows(runs: Sequence[Run]) -> list[list[str]]:
    """A row of ``FIELD_COLUMNS`` for each field that a run was trained on, as its store describes it now."""
    used = dict.fromkeys(
        (str(run.config["store"]), field)
        for run in runs
        if run.config.get("store")
        for name in ("fields", "teacher_fields")
        for field in run.config.get(name) or []
    )
    return [_field(path, field) for path, field in used]


def _field(path: str, name: str) -> list[str]:
    try:
        info = store.open(Path(path)).fields()[name]
    except (KeyclipError, KeyError, OSError) as error:
        reason = "the store is not there any more" if not Path(path).exists() else f"cannot be read: {error}"
        return [name, reason, "", "", "", "", path]
    spec = info.spec
    text = ", ".join(
        part
        for part in (
            spec.caption_field,
            f"template {spec.template!r}" if spec.template else "",
            f"pooling {spec.pooling}",
            f"{spec.max_length} tokens",
            "normalised" if spec.normalize else "",
        )
        if part
    )
    return [
        name,
        f"{spec.model} ({spec.kind})",
        spec.revision,
        text,
        f"{info.num_vectors:,}",
        f"{spec.dim} {spec.dtype}",
        path,
    ]


def _results(results: Sequence[Result]) -> Markup:
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
        for result in results
    ]
    header = [tag("th", name, scope="col") for name in ("arm", "result", "checkpoint", "CLIP", "evaluated on")]
    return tag("div", tag("table", tag("thead", tag("tr", header)), tag("tbody", rows)), class_="scroll")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    head = tag("tr", [tag("th", name, scope="col") for name in columns])
    body = [
        tag("tr", tag("th", first, scope="row"), [tag("td", tag("code", cell)) for cell in rest])
        for first, *rest in rows
    ]
    return tag("div", tag("table", tag("thead", head), tag("tbody", body), class_="settings"), class_="scroll")


def _run(run: Run) -> Markup:
    last = int(run.log[-1]["step"])
    return tag("li", run.name, ": ", tag("code", str(run.path)), f", {len(run.log):,} logged steps up to {last:,}")

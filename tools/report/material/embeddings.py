"""What was embedded, once, and how often trainings and evaluations have read it since, field by field."""

from collections.abc import Sequence

from tools.compare.reuse import FieldUse
from tools.report.material.columns import aligned
from tools.report.material.schema import ReuseFile

COLUMNS = ("field", "vectors", "embedded now", "trainings", "evaluations", "vectors read", "each")


def from_json(data: ReuseFile) -> list[FieldUse]:
    """What :func:`as_json` wrote."""
    return [FieldUse(**entry) for entry in data["fields"]]


def sentence(uses: Sequence[FieldUse]) -> str:
    """What the store has saved, in one sentence."""
    vectors, reads = sum(use.num_vectors for use in uses), sum(use.num_reads for use in uses)
    new = sum(use.num_embedded for use in uses)
    origin = "all of them now" if new == vectors else f"{new:,} of them now" if new else "all of them before"
    return (
        f"{vectors:,} vectors were embedded once ({origin}) and read {reads:,} times by trainings and evaluations: "
        f"{reads / max(1, vectors):.1f} times each."
    )


def text(uses: Sequence[FieldUse]) -> str:
    """The sentence and a line for each field."""
    return "\n".join([sentence(uses), "", *aligned([COLUMNS, *rows(uses)])])


def rows(uses: Sequence[FieldUse]) -> list[list[str]]:
    """A row of ``COLUMNS`` for each field."""
    lines = []
    for use in uses:
        numbers = (use.num_vectors, use.num_embedded, use.trainings, use.evaluations, use.num_reads)
        lines.append([use.field, *(f"{n:,}" for n in numbers), f"{use.num_reads / max(1, use.num_vectors):.1f} x"])
    return lines

"""What a run did, for people and for programs."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class FieldReport:
    """Counts of captions of one field. embedded + reused + empty = all samples that were read."""

    name: str
    embedded: int = 0
    """Vectors committed by this run."""
    reused: int = 0
    """Vectors that were in the store before."""
    deduplicated: int = 0
    """Of the embedded: those that took the vector of an equal caption."""
    empty: int = 0
    """Samples whose caption is null, blank or missing: they have no vector."""
    truncated: int = 0
    """Of the embedded: those cut to the model's length."""


@dataclass(slots=True)
class Report:
    """What a run did."""

    model: str
    revision: str
    store: str
    rank: int = 0
    world_size: int = 1
    fields: list[FieldReport] = field(default_factory=list)
    missing: int = 0
    """Of the empty: those whose sample has no such caption field."""
    tokens: int = 0
    """Tokens that went through the model, padding excluded."""
    seconds: float = 0.0
    """Wall time from the first caption read to the last block committed."""

    def total(self, count: str) -> int:
        """Sum of a count, such as ``embedded``, over the fields."""
        return sum(getattr(f, count) for f in self.fields)

    def as_dict(self) -> dict[str, Any]:
        totals = {c: self.total(c) for c in ("embedded", "reused", "deduplicated", "empty", "truncated")}
        return asdict(self) | totals

    def __str__(self) -> str:
        rate = self.total("embedded") / self.seconds if self.seconds else 0.0
        lines = [f"{f.name}: {_counts(f)}" for f in self.fields]
        lines.append(
            f"{self.total('embedded')} captions embedded in {self.seconds:.1f} s "
            f"({rate:.0f} captions/s, {self.tokens} tokens) into {self.store}"
        )
        if self.missing:
            lines.append(f"{self.missing} captions counted as empty because their sample lacks the caption field")
        return "\n".join(lines)


def _counts(f: FieldReport) -> str:
    return (
        f"{f.embedded} embedded, {f.reused} reused, {f.deduplicated} deduplicated, "
        f"{f.empty} empty, {f.truncated} truncated"
    )

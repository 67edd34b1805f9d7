"""What a run did, for people and for programs."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

COUNTS = ("embedded", "reused", "deduplicated", "empty", "missing", "truncated")


@dataclass(slots=True)
class FieldReport:
    """Counts of captions of one field. embedded + reused + empty + missing = all samples that were read."""

    name: str
    embedded: int = 0
    """Vectors committed by this run."""
    reused: int = 0
    """Vectors that were in the store before."""
    deduplicated: int = 0
    """Embedded captions that took the vector of an equal caption."""
    empty: int = 0
    """Samples whose caption is null or blank: they have no vector."""
    missing: int = 0
    """Samples that lack the caption field, where these are skipped: they have no vector."""
    truncated: int = 0
    """Embedded captions that were cut to the model's length."""


@dataclass(slots=True)
class Report:
    """What a run did."""

    model: str
    revision: str
    store: str
    rank: int = 0
    world_size: int = 1
    fields: list[FieldReport] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    """Shards or files that were left before their end, with the reason."""
    not_found: int | None = None
    """Keys of the key list that no source holds; None without a list, or where ranks see only a part."""
    tokens: int = 0
    """Tokens that went through the model, padding excluded."""
    seconds: float = 0.0
    """Wall time from the first caption read to the last block committed."""

    def total(self, count: str) -> int:
        """Sum of a count, such as ``embedded``, over the fields."""
        return sum(getattr(f, count) for f in self.fields)

    def as_dict(self) -> dict[str, Any]:
        """The report as json values, with the sums over the fields."""
        return asdict(self) | {count: self.total(count) for count in COUNTS}

    def as_json(self) -> str:
        """The report as a json object."""
        return json.dumps(self.as_dict(), indent=2)

    def __str__(self) -> str:
        lines = []
        for f in self.fields:
            counts = [f"{getattr(f, count)} {count}" for count in COUNTS if count != "missing" or f.missing]
            lines.append(f"{f.name}: {', '.join(counts)}")
        embedded = self.total("embedded")
        rate = embedded / self.seconds if self.seconds else 0.0
        lines.append(
            f"{embedded} captions embedded in {self.seconds:.1f} s "
            f"({rate:.0f} captions/s, {self.tokens} tokens) into {self.store}"
        )
        if self.not_found:
            lines.append(f"{self.not_found} keys of the key list are in none of the sources")
        lines += [f"damaged: {reason}" for reason in self.damaged]
        ours = f"rank {self.rank} of {self.world_size}: " if self.world_size > 1 else ""
        return "\n".join(ours + line for line in lines)

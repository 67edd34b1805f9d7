"""The bars that a benchmark must clear, as a table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """A ratio or size that must be reached."""

    what: str
    measured: float
    target: float
    at_most: bool = False
    unit: str = "x"

    @property
    def met(self) -> bool:
        return self.measured <= self.target if self.at_most else self.measured >= self.target


def bar_table(bars: Sequence[Bar]) -> Iterator[str]:
    """Lines: what, target, measured, met or MISSED."""
    yield f"{'Bar':48}{'target':>12}{'measured':>12}"
    for bar in bars:
        target = f"{'<=' if bar.at_most else '>='} {bar.target:g}{bar.unit}"
        yield f"{bar.what:48}{target:>12}{f'{bar.measured:.3g}{bar.unit}':>12}  {'met' if bar.met else 'MISSED'}"

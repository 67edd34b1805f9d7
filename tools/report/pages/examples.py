"""The report's retrieval examples: one card per caption, the arms below each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tools.report.material.inputs import Result

MAX_QUERIES = 12
SHOWN = 4  # cards; the others are folded


@dataclass(frozen=True, slots=True)
class Card:
    """A caption, the key and picture that belong to it, and (arm, rank in words, retrieved images) of each arm."""

    caption: str
    key: str
    picture: str | None
    answers: tuple[tuple[str, str, Sequence[Mapping[str, Any]]], ...]


def cards(results: Sequence[Result]) -> list[Card]:
    """Cards of the captions that most arms were asked for."""
    asked: dict[tuple[str, str], list[tuple[str, Mapping[str, Any]]]] = {}
    for result in results:
        for example in result.examples:
            asked.setdefault((example["query"], example["key"]), []).append((result.name, example))
    found = []
    for (caption, key), answers in sorted(asked.items(), key=lambda item: -len(item[1]))[:MAX_QUERIES]:
        own = (answer["image"] for _, answer in answers)
        hits = (hit["image"] for _, answer in answers for hit in answer["retrieved"] if hit["key"] == key)
        picture = next(filter(None, (*own, *hits)), None)  # older results have it only where an arm found it
        rows = tuple((arm, place(answer["rank"]), answer["retrieved"]) for arm, answer in answers)
        found.append(Card(caption, key, picture, rows))
    return found


def place(rank: int) -> str:
    """The rank of the sought image in words."""
    return "found first" if rank == 1 else f"found at rank {rank:,}"

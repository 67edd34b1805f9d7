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
    chosen = sorted(asked.items(), key=lambda item: -len(item[1]))[:MAX_QUERIES]  # sorting keeps the order of equals
    return [
        Card(
            caption,
            key,
            _picture(key, [answer for _, answer in answers]),
            tuple((arm, place(answer["rank"]), answer["retrieved"]) for arm, answer in answers),
        )
        for (caption, key), answers in chosen
    ]


def place(rank: int) -> str:
    """The rank of the sought image in words."""
    return "found first" if rank == 1 else f"found at rank {rank:,}"


def _picture(key: str, answers: Sequence[Mapping[str, Any]]) -> str | None:
    """The picture that belongs to the caption: from the example itself or, in older results, where an arm found it."""
    own = next((answer["image"] for answer in answers if answer.get("image")), None)
    hits = (hit for answer in answers for hit in answer["retrieved"])
    return own or next((hit["image"] for hit in hits if hit["key"] == key and hit["image"]), None)

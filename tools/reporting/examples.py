"""The report's retrieval examples: one card per caption, the arms below each other."""

from collections.abc import Mapping, Sequence
from typing import Any

from tools.reporting.element import Markup, group, tag
from tools.reporting.inputs import Result

MAX_QUERIES = 12


def section(results: Sequence[Result]) -> Markup | None:
    """Cards of the captions that most arms were asked for; None if there are no examples."""
    asked: dict[tuple[str, str], list[tuple[str, Mapping[str, Any]]]] = {}
    for result in results:
        for example in result.examples:
            asked.setdefault((example["query"], example["key"]), []).append((result.name, example))
    if not asked:
        return None
    chosen = sorted(asked.items(), key=lambda item: -len(item[1]))[:MAX_QUERIES]  # sorting keeps the order of equals
    explanation = (
        "Held-out captions and the five images that each arm holds to be most like them, best first. "
        "The image that belongs to the caption has a green frame and a tick; beside the caption, if an arm found it."
    )
    return group(tag("p", explanation, class_="note"), tag("div", [_card(*item) for item in chosen], class_="cards"))


def _card(query: tuple[str, str], answers: Sequence[tuple[str, Mapping[str, Any]]]) -> Markup:
    caption, key = query
    rows = [
        tag(
            "tr",
            tag("th", arm, tag("span", _place(answer["rank"]), class_="place"), scope="row"),
            [tag("td", _hit(hit)) for hit in answer["retrieved"]],
        )
        for arm, answer in answers
    ]
    sought = _sought(key, answers)
    heading = tag(
        "header",
        tag("img", src=sought, alt=f"sought image {key}") if sought else None,
        tag("h3", f"“{caption}”", tag("small", f"sought: {key}")),
    )
    return tag("article", heading, tag("table", tag("tbody", rows)), class_="card")


def _sought(key: str, answers: Sequence[tuple[str, Mapping[str, Any]]]) -> str | None:
    """The picture that belongs to the caption, if any arm found it."""
    hits = (hit for _, answer in answers for hit in answer["retrieved"])
    return next((hit["image"] for hit in hits if hit["key"] == key and hit["image"]), None)


def _place(rank: int) -> str:
    return "found first" if rank == 1 else f"found at rank {rank:,}"


def _hit(hit: Mapping[str, Any]) -> Markup:
    right = hit["correct"]
    title = f"{hit['key']}, similarity {hit['score']:.3f}"
    if hit["image"] is None:
        picture = tag("span", hit["key"], class_="no-image")
    else:
        picture = tag(
            "img", src=hit["image"], alt=f"{'right image' if right else 'image'} {hit['key']}", loading="lazy"
        )
    mark = tag("figcaption", "✓") if right else None
    return tag("figure", picture, mark, class_="right" if right else None, title=title)

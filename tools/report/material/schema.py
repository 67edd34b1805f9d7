"""Types that result files and runs are checked against where they are read; entries that no type names are ignored."""

# ruff: noqa: UP013 - types of a few entries are one line each

import re
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

_IMAGE = re.compile(r"data:image/(jpeg|png|webp|gif);base64,[A-Za-z0-9+/=]+")


def _require_embedded(image: str) -> str:
    if not _IMAGE.fullmatch(image):
        raise ValueError("it is not a data URI of a jpeg, png, webp or gif")
    return image


Image = Annotated[str, AfterValidator(_require_embedded)]
"""A picture within the file: a report must load nothing from elsewhere."""
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
NumImages = Annotated[int, Field(ge=1, le=2**26)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{1,16}$")]

Direction = TypedDict(
    "Direction", {"R@1": Finite, "R@5": Finite, "R@10": Finite, "mean_rank": Finite, "median_rank": Finite}
)
Directions = TypedDict("Directions", {"image_to_text": Direction, "text_to_image": Direction})
ZeroShot = TypedDict("ZeroShot", {"top1": Finite, "top5": Finite, "num_classes": Count})
"""Means over classification sets."""
Score = TypedDict("Score", {"accuracy": Finite})
Contrast = TypedDict("Contrast", {"accuracy": Finite, "kinds": dict[str, Score]})
Cka = TypedDict("Cka", {"cka": Finite})
SetEntry = TypedDict("SetEntry", {"part": NotRequired[bool], "num_images": NotRequired[Count]})
"""``part`` says that the set is a part of another."""
Hit = TypedDict("Hit", {"key": str, "score": Finite, "correct": bool, "image": NotRequired[Image | None]})
"""A retrieved image."""


class Example(TypedDict):
    """A caption with the images that rank first."""

    query: str
    key: str
    rank: Count
    image: NotRequired[Image | None]
    retrieved: list[Hit]


Adapter = TypedDict("Adapter", {"num_blocks": NotRequired[Count | None]})
Embedder = TypedDict("Embedder", {"model": NotRequired[str | None]})
Dataset = TypedDict("Dataset", {"samples": NotRequired[Count | None]})


class TrainingEntry(TypedDict, total=False):
    """What a checkpoint says of its training."""

    arm: str | None
    recipe: str | None
    stage: str | int | None
    step: Count | None
    adapter: Adapter | None
    embedder: Embedder | None
    datasets: dict[str, Dataset] | None
    lambda_reg: Finite | None


class Draws(TypedDict):
    """How replicates are drawn."""

    resamples: Annotated[int, Field(ge=0, le=10**6)]
    level: Annotated[float, Field(gt=0, lt=1)]
    seed: Count


Ranks = TypedDict("Ranks", {"ranks": str, "groups": str})
"""Packed ranks of queries, and the group that each query is drawn with."""
Answers = TypedDict("Answers", {"right": str, "groups": str})
"""Packed answers, 1 where right, and the group that each is drawn with."""


class RetrievalQueries(TypedDict):
    """The queries of a retrieval set; ``images`` and ``texts`` say which."""

    images: Digest
    texts: Digest
    num_images: NumImages
    image_to_text: Ranks
    text_to_image: Ranks
    part: NotRequired[bool]


class ZeroshotQueries(TypedDict):
    """The images of a classification set with packed ranks and labels."""

    images: Digest
    primary: Literal["top1", "mean_per_class"]
    ranks: str
    labels: str


ContrastQueries = TypedDict("ContrastQueries", {"images": Digest, "num_images": NumImages, "kinds": dict[str, Answers]})
"""The questions of a set of contrasts, by their kind."""


class Queries(TypedDict, total=False):
    """The ranks of all queries, by set."""

    retrieval: dict[str, RetrievalQueries] | None
    drift: dict[str, RetrievalQueries] | None
    zeroshot: dict[str, ZeroshotQueries] | None
    robustness: dict[str, ZeroshotQueries] | None
    linear_probe: dict[str, ZeroshotQueries] | None
    composition: dict[str, ContrastQueries] | None
    fine_grained: dict[str, ContrastQueries] | None


class ResultFile(TypedDict):
    """What ``keyclip eval`` writes, as far as it is read again."""

    format: str
    name: str
    clip: str
    checkpoint: str | None
    shards: list[str]
    num_images: Count
    retrieval: dict[str, Directions]
    drift: NotRequired[Directions | None]
    zeroshot: NotRequired[ZeroShot | None]
    examples: NotRequired[list[Example] | None]
    languages: NotRequired[dict[str, dict[str, Directions]] | None]
    zeroshot_sets: NotRequired[dict[str, dict[str, Finite | str]] | None]
    robustness: NotRequired[dict[str, Score] | None]
    linear_probe: NotRequired[dict[str, Score] | None]
    composition: NotRequired[dict[str, Contrast] | None]
    fine_grained: NotRequired[dict[str, Contrast] | None]
    cka: NotRequired[dict[str, Cka] | None]
    training: NotRequired[TrainingEntry | None]
    sets: NotRequired[dict[str, SetEntry] | None]
    bootstrap: NotRequired[Draws]
    queries: NotRequired[Queries]


class RunConfig(TypedDict, total=False):
    """The settings of a run that reports look at; there are many more."""

    stage: str | int | None
    store: str | None
    fields: list[str] | None
    teacher_fields: list[str] | None


LogLine = TypedDict("LogLine", {"step": Count, "epoch": NotRequired[Finite], "samples": NotRequired[Count]})
"""The position that every logged line has; other entries are numbers, text or nothing."""
LogEntries = dict[str, float | str | bool | list[Any] | dict[str, Any] | None]

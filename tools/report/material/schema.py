"""What the files that reports are made from hold: types that they are checked against where they are read."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=2**53)]

Direction = TypedDict(
    "Direction", {"R@1": Finite, "R@5": Finite, "R@10": Finite, "mean_rank": Finite, "median_rank": Finite}
)


class Directions(TypedDict):
    """Retrieval both ways."""

    image_to_text: Direction
    text_to_image: Direction


class ZeroShot(TypedDict):
    """Means over classification sets."""

    top1: Finite
    top5: Finite
    num_classes: Count


class Hit(TypedDict):
    """A retrieved image."""

    key: str
    score: Finite
    correct: bool
    image: NotRequired[str | None]


class Example(TypedDict):
    """A caption with the images that rank first."""

    query: str
    key: str
    rank: Count
    image: NotRequired[str | None]
    retrieved: list[Hit]


class SetEntry(TypedDict):
    """A set; ``part`` says that it is a part of another."""

    part: NotRequired[bool]
    num_images: NotRequired[Count]


class Score(TypedDict):
    """A set's accuracy, as far as it is read again."""

    accuracy: Finite


class Contrast(TypedDict):
    """A set of contrasts: its accuracy, and that of each kind."""

    accuracy: Finite
    kinds: dict[str, Score]


class Cka(TypedDict):
    """How alike two image towers arrange a set's images."""

    cka: Finite


class AdapterShape(TypedDict):
    """The adapter of a checkpoint, as far as it is read again."""

    num_blocks: NotRequired[Count | None]


class MadeBy(TypedDict):
    """What made the vectors that an adapter takes."""

    model: NotRequired[str | None]


class Dataset(TypedDict):
    """What a checkpoint was trained on."""

    samples: NotRequired[Count | None]


class TrainingEntry(TypedDict):
    """What a checkpoint says of its training."""

    arm: NotRequired[str | None]
    recipe: NotRequired[str | None]
    stage: NotRequired[str | int | None]
    step: NotRequired[Count | None]
    adapter: NotRequired[AdapterShape | None]
    embedder: NotRequired[MadeBy | None]
    datasets: NotRequired[dict[str, Dataset] | None]
    lambda_reg: NotRequired[Finite | None]


class Draws(TypedDict):
    """How replicates are drawn."""

    resamples: Annotated[int, Field(ge=0, le=10**6)]
    level: Annotated[float, Field(gt=0, lt=1)]
    seed: Count


class Ranks(TypedDict):
    """Packed ranks of queries, and the group that each query is drawn with."""

    ranks: str
    groups: str


class RetrievalQueries(TypedDict):
    """The queries of a retrieval set; ``images`` and ``texts`` say which."""

    images: Annotated[str, Field(pattern="^[0-9a-f]{1,16}$")]
    texts: Annotated[str, Field(pattern="^[0-9a-f]{1,16}$")]
    num_images: Annotated[int, Field(ge=1, le=2**26)]
    image_to_text: Ranks
    text_to_image: Ranks
    part: NotRequired[bool]


class ZeroshotQueries(TypedDict):
    """The images of a classification set with packed ranks and labels."""

    images: Annotated[str, Field(pattern="^[0-9a-f]{1,16}$")]
    primary: Literal["top1", "mean_per_class"]
    ranks: str
    labels: str


class Answers(TypedDict):
    """Packed answers, 1 where right, and the group that each is drawn with."""

    right: str
    groups: str


class ContrastQueries(TypedDict):
    """The questions of a set of contrasts, by their kind."""

    images: Annotated[str, Field(pattern="^[0-9a-f]{1,16}$")]
    num_images: Annotated[int, Field(ge=1, le=2**26)]
    kinds: dict[str, Answers]


class Queries(TypedDict):
    """The ranks of all queries, by set."""

    retrieval: NotRequired[dict[str, RetrievalQueries] | None]
    drift: NotRequired[dict[str, RetrievalQueries] | None]
    zeroshot: NotRequired[dict[str, ZeroshotQueries] | None]
    robustness: NotRequired[dict[str, ZeroshotQueries] | None]
    linear_probe: NotRequired[dict[str, ZeroshotQueries] | None]
    composition: NotRequired[dict[str, ContrastQueries] | None]
    fine_grained: NotRequired[dict[str, ContrastQueries] | None]


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


class RunConfig(TypedDict):
    """The settings of a run that reports look at; there are many more."""

    stage: NotRequired[str | int | None]
    store: NotRequired[str | None]
    fields: NotRequired[list[str] | None]
    teacher_fields: NotRequired[list[str] | None]


class LogLine(TypedDict):
    """The position that every logged line has; other entries are numbers, text or nothing."""

    step: Count
    epoch: NotRequired[Finite]
    samples: NotRequired[Count]


LogEntries = dict[str, float | str | bool | list[Any] | dict[str, Any] | None]


class FieldUseEntry(TypedDict):
    """How often the vectors of a field were read."""

    field: str
    num_vectors: Count
    num_embedded: Count
    trainings: Count
    evaluations: Count
    num_reads: Count


class ReuseFile(TypedDict):
    """What ``keyclip compare`` counts."""

    format: str
    fields: list[FieldUseEntry]

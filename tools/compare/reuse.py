"""How often vectors that were embedded once were read by a comparison's trainings and evaluations, field by field."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval
from typing_extensions import TypedDict

import store
from trainer.checkpoint.folder import find_checkpoint, read_checkpoint_info

FORMAT = "keyclip-reuse/1"
COLUMNS = ("field", "vectors", "embedded now", "trainings", "evaluations", "vectors read", "each")
Number = Annotated[int, Interval(ge=0, lt=2**53)]
Reads = list[int]  # how many vectors of a field each training, or each evaluation, has read


@dataclass(frozen=True, slots=True)
class FieldUse:
    """One field of vectors.

    Attributes:
        num_vectors: in the field.
        num_embedded: of these, since this comparison was begun.
        trainings, evaluations: how many have read the field.
        num_reads: vectors that they have read together.
    """

    field: str
    num_vectors: Number
    num_embedded: Number
    trainings: Number
    evaluations: Number
    num_reads: Number

    @property
    def row(self) -> list[str]:
        """The cells of ``COLUMNS``."""
        numbers = (self.num_vectors, self.num_embedded, self.trainings, self.evaluations, self.num_reads)
        return [self.field, *(f"{n:,}" for n in numbers), f"{self.num_reads / max(1, self.num_vectors):.1f} x"]


class ReuseFile(TypedDict):
    """The file that ``keyclip compare`` writes and ``keyclip report`` reads."""

    format: str
    fields: list[FieldUse]


def as_json(uses: Sequence[FieldUse]) -> dict[str, Any]:
    """The content of a :class:`ReuseFile`."""
    return {"format": FORMAT, "fields": [dataclasses.asdict(use) for use in uses]}


def vectors_in(path: Path) -> dict[str, int]:
    """Field -> number of vectors; empty where there is no store yet."""
    if not path.exists():
        return {}
    return {name: info.num_vectors for name, info in store.open(path).fields().items()}


def field_uses(
    path: Path, before: Mapping[str, int], runs: Sequence[Path], evaluations: Mapping[str, Reads]
) -> list[FieldUse]:
    """The use of every field that a run or an evaluation has read.

    Args:
        before: field -> vectors that were there when the comparison was begun.
        runs: folders of finished runs.
        evaluations: field -> the reads of each evaluation.
    """
    trained: dict[str, Reads] = {}
    for run in runs:
        for field, reads in _training_reads(read_checkpoint_info(find_checkpoint(run))).items():
            trained.setdefault(field, []).append(reads)
    uses = []
    for field, count in vectors_in(path).items():
        if field in trained or field in evaluations:
            training, evaluating = trained.get(field, []), list(evaluations.get(field, []))
            new, reads = count - before.get(field, 0), sum(training) + sum(evaluating)
            uses.append(FieldUse(field, count, new, len(training), len(evaluating), reads))
    return uses


def _training_reads(info: Mapping[str, Any]) -> dict[str, int]:
    """Stage 1 reads every view of every sample; stage 2 draws one caption of each (the expected numbers)."""
    config, samples = info["config"], int(info["samples"])
    if info["stage"] == "stage1":
        return dict.fromkeys((*config["fields"], *config["teacher_fields"]), samples)
    weights = config.get("field_weights") or [1.0] * len(config["fields"])
    shares = zip(config["fields"], weights, strict=True)
    return {field: round(samples * weight / sum(weights)) for field, weight in shares}


def sentence(uses: Sequence[FieldUse]) -> str:
    """What the store has saved, in one sentence."""
    vectors, reads = sum(use.num_vectors for use in uses), sum(use.num_reads for use in uses)
    new = sum(use.num_embedded for use in uses)
    origin = "all of them now" if new == vectors else f"{new:,} of them now" if new else "all of them before"
    return (
        f"{vectors:,} vectors were embedded once ({origin}) and read {reads:,} times by trainings and evaluations: "
        f"{reads / max(1, vectors):.1f} times each."
    )

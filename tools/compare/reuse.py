"""Counts the reads of a comparison's trainings and evaluations, field by field."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import store
from trainer.checkpoint.folder import find_checkpoint, read_checkpoint_info

FORMAT = "keyclip-reuse/1"


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
    num_vectors: int
    num_embedded: int
    trainings: int
    evaluations: int
    num_reads: int


def as_json(uses: Sequence[FieldUse]) -> dict[str, Any]:
    """What ``keyclip report`` reads."""
    return {"format": FORMAT, "fields": [dataclasses.asdict(use) for use in uses]}


Reads = list[int]  # how many vectors of a field each training, or each evaluation, has read


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
    there = vectors_in(path)
    return [
        FieldUse(
            field=field,
            num_vectors=there[field],
            num_embedded=there[field] - before.get(field, 0),
            trainings=len(trained.get(field, [])),
            evaluations=len(evaluations.get(field, [])),
            num_reads=sum(trained.get(field, [])) + sum(evaluations.get(field, [])),
        )
        for field in there
        if field in trained or field in evaluations
    ]


def _training_reads(info: Mapping[str, Any]) -> dict[str, int]:
    """Stage 1 reads every view of every sample; stage 2 draws one caption of each (the expected numbers)."""
    config, samples = info["config"], int(info["samples"])
    if info["stage"] == "stage1":
        return dict.fromkeys((*config["fields"], *config["teacher_fields"]), samples)
    weights = config.get("field_weights") or [1.0] * len(config["fields"])
    shares = zip(config["fields"], weights, strict=True)
    return {field: round(samples * weight / sum(weights)) for field, weight in shares}

"""The samples of each epoch: counted, reported and logged, so that none is lost in silence."""

from collections.abc import Mapping, Sequence
from typing import Any

from trainer.data.loader import Plan
from trainer.data.order import Source, describe
from trainer.data.samples import LEFT_OUT

STREAMED = (
    "streamed, so their number is the number of stored vectors; the shards are divided among the loader processes, "
    "each of which passes over its own again and again and shuffles them by a buffer: an epoch is as many samples, not "
    "each sample once, and a continued run begins at about the shard where it stopped"
)
"""What is true, and what is not, for shards that cannot be addressed by sample."""


class EpochCounts:
    """Samples left out as they were loaded, epoch by epoch; ``row`` is the log's last line before a run continued."""

    def __init__(self, plan: Plan, sources: Sequence[Source], row: Mapping[str, Any] | None = None) -> None:
        self.plan, self.sources = plan, sources
        self._left_out = dict.fromkeys(LEFT_OUT, 0) | dict((row or {}).get("epoch_left_out", {}))

    def add(self, step: int, left_out: Mapping[str, int]) -> dict[str, Any]:
        """Entries of the log's line after ``step``; ``left_out`` by all ranks since the line before.

        Within an epoch ``epoch_left_out`` counts the samples left out so far; at its end ``epoch_counts`` has all.
        """
        for reason, number in left_out.items():
            self._left_out[reason] += number
        counts = {reason: number for reason, number in self._left_out.items() if number}
        if step % self.plan.steps_per_epoch:
            return {"epoch_left_out": counts}
        self._left_out = dict.fromkeys(LEFT_OUT, 0)
        trained_on = self.plan.num_samples - self.plan.remainder
        if not any(source.streamed for source in self.sources):  # streams put other samples in their place
            trained_on -= sum(counts.values())
        return {
            "epoch_counts": {
                "epoch": step // self.plan.steps_per_epoch,
                "trained_on": trained_on,
                "left_out": counts,
                "left_over": self.plan.remainder,
                "datasets": describe(self.sources),
            }
        }


def _left_out_parts(counts: Mapping[str, int]) -> list[str]:
    return [f"{number} left out: {reason}" for reason, number in counts.items() if number]


def epoch_sentence(counts: Mapping[str, Any]) -> str:
    """``epoch_counts`` for people."""
    parts = [f"{counts['trained_on']} samples trained on", *_left_out_parts(counts["left_out"])]
    if counts["left_over"]:
        parts.append(f"{counts['left_over']} left over, which filled no batch (other ones every epoch)")
    return f"epoch {counts['epoch']}: {'; '.join(parts)}"


def begin_sentences(name: str, first: int, total_steps: int, plan: Plan, sources: Sequence[Source], ranks: int) -> str:
    """The first lines of a run: a line for each dataset, then its samples, batch and steps."""
    lines = []
    for source in sources:
        parts = [f"{source.num_samples} samples", *_left_out_parts(source.left_out)]
        if source.weight != 1:
            parts.append(f"weight {source.weight:g}: {source.epoch_size} an epoch")
        if source.streamed:
            parts.append(STREAMED)
        lines.append(f"dataset {source.name}: {'; '.join(parts)}")
    left = f", {plan.remainder} left over in each (other ones every time)" if plan.remainder else ""
    begin = f"continues at step {first}" if first else "starts"
    lines.append(
        f"{name} {begin}: {plan.num_samples} samples, batch {plan.batch_size} on {ranks} ranks, "
        f"{total_steps} steps, {plan.steps_per_epoch} an epoch{left}"
    )
    return "\n".join(lines)

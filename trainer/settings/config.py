"""Settings that the training stages share: the run, its optimiser and its evaluations."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from store.common.errors import ConfigError
from store.common.settings import Seed, Workers


def require(condition: bool, name: str, value: object, expected: str) -> None:
    """Raises: ConfigError: ``condition`` does not hold; names the setting, its value and what is expected."""
    if not condition:
        raise ConfigError(f"{name} is {value}; expected {expected}")


def require_least(config: Any, least: int, *names: str) -> None:
    """Raises: ConfigError: one of these settings is below ``least``; None is none."""
    for name in names:
        value = getattr(config, name)
        require(value is None or value >= least, name, value, f"at least {least}")


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimConfig:
    """AdamW with linear warm-up and a cosine decay to zero."""

    learning_rate: float = 1e-5
    """Peak learning rate of AdamW, > 0."""
    warmup_steps: int = 0
    """Steps of linear warm-up before the cosine decay to zero."""
    weight_decay: float = 0.05
    """Weight decay of matrices; biases, norms, positional and class embeddings and the temperature have none."""
    beta1: float = 0.9
    """AdamW's decay of the mean of gradients, in [0, 1)."""
    beta2: float = 0.98
    """AdamW's decay of the mean of squared gradients, in (0, 1)."""
    epsilon: float = 1e-6
    """AdamW's addition to the root of the mean squared gradient, > 0."""
    grad_clip: float = 5.0
    """Largest norm of the whole gradient; 0 for none."""

    def __post_init__(self) -> None:
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "above 0")
        require(0 <= self.beta1 < 1, "beta1", self.beta1, "at least 0 and below 1")
        require(0 < self.beta2 < 1, "beta2", self.beta2, "between 0 and 1")
        require(self.epsilon > 0, "epsilon", self.epsilon, "above 0")
        require_least(self, 0, "warmup_steps", "weight_decay", "grad_clip")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """One training run: its folder, length, batches, precision and records."""

    output: Path
    """Folder of the run: effective config, log, checkpoints. The same command on the same folder continues the run."""
    batch_size: int = 4096
    """Samples per optimiser step over all ranks; a multiple of ranks times accumulation."""
    epochs: int = 1
    """Passes over the data, at least 1. May change when a run continues, as may max_steps: the learning rate of each
    further step is then the learning rate of a run that had the new length from the start."""
    max_steps: int | None = None
    """Stop after this many optimiser steps, also inside an epoch."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """AdamW's settings."""
    accumulation: int = 1
    """Micro-batches per optimiser step. InfoNCE compares within a micro-batch of all ranks.

    May change when a run continues, as may the number of ranks: the samples of each step stay the same."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Precision of parameters and activations; master weights are always float32."""
    zero_stage: int = 1
    """DeepSpeed ZeRO stage: 0, 1 or 2."""
    seed: Seed = 0
    """Seed of initial weights, sample order, augmentation and drawn captions."""
    shuffle_window: int = 16
    """Shards shuffled together: more is more random, fewer reads more locally."""
    workers: Workers = 2
    """Loader processes per rank; 0 loads in the training process."""
    threads: Workers | None = None
    """CPU threads of each rank; by default the cores divided by the ranks of this machine."""
    log_every: int = 10
    """Steps between log lines."""
    wandb_project: str | None = None
    """Weights & Biases project that the run reports to as well (pip install wandb; WANDB_MODE=offline works)."""
    checkpoint_every: int = 500
    """Steps between checkpoints; one is always written at the end."""
    checkpoint_minutes: float | None = None
    """Minutes after which a further checkpoint is written, at the next step; > 0."""
    keep_checkpoints: int = 2
    """Newest checkpoints that are kept."""

    def __post_init__(self) -> None:
        require_least(self, 1, "batch_size", "epochs", "accumulation", "shuffle_window", "log_every")
        require_least(self, 1, "checkpoint_every", "keep_checkpoints", "max_steps", "threads")
        require_least(self, 0, "workers", "seed")
        minutes = self.checkpoint_minutes
        require(minutes is None or minutes > 0, "checkpoint_minutes", minutes, "above 0")
        if self.zero_stage == 3:
            raise ConfigError(
                "zero_stage 3 is refused: it splits the parameters themselves, and the EMA teacher and the "
                "checkpoints need them whole; use 0, 1 or 2 (2 splits optimiser state and gradients)"
            )
        require(self.zero_stage in (0, 1, 2), "zero_stage", self.zero_stage, "0, 1 or 2")
        if self.precision == "fp16" and self.zero_stage == 0:
            raise ConfigError(
                "precision fp16 with zero_stage 0 is refused: DeepSpeed would divide the gradients by a loss scale "
                "that it never applied; use zero_stage 1 or 2, or bf16"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalConfig:
    """Evaluation while a run trains: all four settings, or none."""

    every: int | None = None
    """Steps between evaluations on --eval-sets; one is made at the end too. They go to RUN/evaluations.jsonl."""
    sets: Path | None = None
    """YAML file of evaluation sets, as `keyclip eval --sets` takes it."""
    store: Path | None = None
    """Store with the vectors of the sets' captions and class prompts."""
    field: str | None = None
    """Field of these vectors, such as llama/caption; made by the embedder whose vectors are trained on."""

    def __post_init__(self) -> None:
        given = [value is not None for value in (self.every, self.sets, self.store, self.field)]
        if any(given) != all(given):
            raise ConfigError("evaluation while training needs all of eval_every, eval_sets, eval_store and eval_field")
        require(self.every is None or self.every >= 1, "eval_every", self.every, "at least 1")

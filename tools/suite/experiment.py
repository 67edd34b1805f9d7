"""Runs the arms of a comparison: embeds once, trains, evaluates; each step is kept and not done twice."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.eval import caption_sets
from tools.suite.arms import ARMS, STAGE1, Arm, ArmName
from tools.suite.chain import Chain, Training, has_result
from tools.suite.samples import Draws
from tools.suite.settings import SuiteSettings

UNBOUNDED = 1_000_000  # epochs: the budget is in steps


@dataclass(frozen=True, slots=True)
class Sources:
    """Where models, shards and vectors are.

    Attributes:
        clip: the CLIP to tune, folder or hub id.
        model: the caption embedder; None where the store holds all vectors already.
        store: the store that is read, and filled where vectors are missing.
        finetune, test: shards.
        embedder, teacher: first parts of the names of the fields of ``model`` and of CLIP's own text tower.
    """

    clip: str
    model: str | None
    store: Path
    finetune: tuple[str, ...]
    test: tuple[str, ...]
    embedder: str
    teacher: str


class Experiment:
    """The steps of one comparison in the folder ``output``.

    seed-N/ARM/                 runs; stage 1 under its own name
    seed-N/results/ARM.json     their evaluations; that of CLIP itself, without a seed, is results/clip.json
    """

    def __init__(self, output: Path, settings: SuiteSettings, sources: Sources, draws: Draws) -> None:
        self.output, self.settings, self.sources, self.draws = output, settings, sources, draws
        self.chain = Chain(settings.ranks)

    @property
    def embedded_captions(self) -> list[str]:
        """Every caption field that an arm or an evaluation needs."""
        sets = [field for fields in caption_sets(self.settings.eval_captions).values() for field in fields]
        return list(dict.fromkeys([*self.settings.caption_fields, *sets]))

    def embed(self) -> None:
        """Embed what the store lacks, by both models."""
        if self.sources.model is None:
            return
        sources = list(self._captions())
        for prefix, model in ((self.sources.embedder, self.sources.model), (self.sources.teacher, self.sources.clip)):
            for captions in sources:
                self.chain.keyclip(
                    "embed", *captions, "--model", model, "--field-prefix", prefix, "--store", self.sources.store
                )

    def _captions(self) -> Iterator[list[object]]:
        fields = ["--caption-fields", *self.embedded_captions]
        finetune, test = self.sources.finetune, self.sources.test
        if self.draws.are_all:
            yield ["--shards", *dict.fromkeys([*finetune, *test]), *fields]
        else:
            yield ["--shards", *finetune, "--keys", self.draws.union_file(), *fields]
            keys = ["--keys", self.settings.test_keys] if self.settings.test_keys else []
            yield ["--shards", *test, *keys, *fields]
        if self.settings.zeroshot:
            prompts = self.output / "prompts.jsonl"
            self.chain.keyclip("prompts", "--classes", self.settings.zeroshot, "--output", prompts, "--overwrite", True)
            yield ["--captions", prompts, "--caption-fields", "prompt"]

    def run(self) -> None:
        """Seed by seed, train all arms in one launch and evaluate them."""
        for seed in self.settings.seeds:
            self.chain.train(*self._trainings(seed))
            for name in self.settings.arms:
                self._evaluate(name, seed)

    def runs(self) -> list[Path]:
        """The folders of all trainings, seed by seed."""
        return [training.output for seed in self.settings.seeds for training in self._trainings(seed)]

    def results(self) -> list[Path]:
        """The files of all evaluations, seed by seed; that of CLIP itself once."""
        files = [self._result(name, seed) for seed in self.settings.seeds for name in self.settings.arms]
        return list(dict.fromkeys(files))

    def _trainings(self, seed: int) -> list[Training]:
        """What the arms of a seed train, in order; a shared stage 1 once."""
        trainings: dict[str, Training] = {}
        for name in self.settings.arms:
            arm = ARMS[name]
            if arm.stage1 and arm.stage1 not in trainings:
                trainings[arm.stage1] = self._stage1(arm.stage1, seed)
            if arm.stage2 is not None:
                trainings[name] = self._stage2(name, arm, arm.stage2, seed)
        return list(trainings.values())

    def _stage1(self, name: str, seed: int) -> Training:
        teachers = ["--teacher-fields", *self._fields(self.sources.teacher)]
        steps = _budget(self.settings.stage1_steps, self.settings.stage1_config)
        return Training("stage1", self._folder(seed) / name, *self._shared(seed), *teachers, *steps, *STAGE1[name])

    def _stage2(self, name: str, arm: Arm, flags: Sequence[str], seed: int) -> Training:
        pairs = ["--shards", *self.sources.finetune, "--clip", self.sources.clip]
        start = ["--stage1", self._folder(seed) / arm.stage1] if arm.stage1 else []
        steps = _budget(self.settings.stage2_steps, self.settings.stage2_config)
        return Training("stage2", self._folder(seed) / name, *self._shared(seed), *pairs, *start, *steps, *flags)

    def _shared(self, seed: int) -> list[Any]:
        return [
            "--recipe", self.settings.recipe, "--store", self.sources.store, "--seed", seed,
            "--keys", self.draws.file(seed), "--fields", *self._fields(self.sources.embedder),
        ]  # fmt: skip

    def _fields(self, prefix: str) -> list[str]:
        return [f"{prefix}/{field}" for field in self.settings.caption_fields]

    def _folder(self, seed: int) -> Path:
        return self.output / f"seed-{seed}"

    def _run_of(self, name: ArmName, seed: int) -> Path | None:
        """The run that is the arm's outcome; None for CLIP as it is."""
        outcome = name if ARMS[name].stage2 is not None else ARMS[name].stage1
        return self._folder(seed) / outcome if outcome else None

    def _result(self, name: ArmName, seed: int) -> Path:
        folder = self._folder(seed) if self._run_of(name, seed) else self.output
        return folder / "results" / f"{name}.json"

    def _evaluate(self, name: ArmName, seed: int) -> None:
        output, run = self._result(name, seed), self._run_of(name, seed)
        if has_result(output):
            return
        settings, sources = self.settings, self.sources
        optional = {"--keys": settings.test_keys, "--zeroshot": settings.zeroshot}
        self.chain.keyclip(
            "eval", "--name", ARMS[name].title + (f" (seed {seed})" if run else ""), "--clip", sources.clip,
            *(["--checkpoint", run] if run else []), "--shards", *sources.test,
            "--store", sources.store, "--embedder", sources.embedder, "--teacher", sources.teacher,
            "--captions", *settings.eval_captions, *(["--parts", *settings.test_parts] if settings.test_parts else []),
            *(word for flag, value in optional.items() if value for word in (flag, value)), "--output", output,
        )  # fmt: skip


def _budget(steps: int, further: Path | None) -> list[object]:
    return [*(["--config", further] if further else []), "--epochs", UNBOUNDED, "--max-steps", steps]

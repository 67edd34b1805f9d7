"""Runs the arms of a comparison: embeds once, trains, evaluates; each step is kept and not done twice."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.compare.arms import Arm, Settings, expand, flags
from tools.compare.chain import Training, keyclip, train
from tools.compare.draws import Draws
from tools.compare.grid import Point
from tools.compare.settings import SuiteSettings
from tools.evaluate.caption_sets import caption_sets

UNBOUNDED = 1_000_000  # epochs: the budget is in steps


@dataclass(frozen=True, slots=True)
class Sources:
    """Where shards and vectors are.

    Attributes:
        store: the store that is read, and filled where vectors are missing.
        finetune, test: shards.
    """

    store: Path
    finetune: tuple[str, ...]
    test: tuple[str, ...]


class Experiment:
    """The steps of a comparison at one point of its grid, in the folder ``output``.

    POINT/seed-N/ARM/                 runs; stage 1 under its own name
    POINT/seed-N/results/ARM.json     their evaluations; the evaluation of CLIP itself is BASE/results/clip.json
    """

    def __init__(self, output: Path, settings: SuiteSettings, sources: Sources, point: Point, draws: Draws) -> None:
        self.output, self.settings, self.sources, self.point, self.draws = output, settings, sources, point, draws
        self.arms = expand(settings.arms)

    def embed(self, models: Mapping[str, str]) -> None:
        """Embed what the store lacks of this point's captions; ``models`` are folders or hub ids by field prefix."""
        sources = list(self._captions()) if models else []
        for prefix, model in models.items():
            for captions in sources:
                keyclip("embed", *captions, "--model", model, "--field-prefix", prefix, "--store", self.sources.store)

    def _captions(self) -> Iterator[list[object]]:
        settings, finetune, test = self.settings, self.sources.finetune, self.sources.test
        learnt = dict.fromkeys([*settings.captions_of("stage1"), *settings.captions_of("stage2")])
        asked = dict.fromkeys(field for fields in caption_sets(settings.eval_captions).values() for field in fields)
        if self.draws.are_all and learnt == asked:
            yield ["--shards", *dict.fromkeys([*finetune, *test]), "--caption-fields", *learnt]
        else:
            drawn = [] if self.draws.are_all else ["--keys", self.draws.union_file()]
            yield ["--shards", *finetune, *drawn, "--caption-fields", *learnt]
            keys = ["--keys", settings.test_keys] if settings.test_keys else []
            yield ["--shards", *test, *keys, "--caption-fields", *asked]
        if settings.stage1_texts:
            yield ["--captions", settings.stage1_texts, "--caption-fields", *settings.captions_of("stage1")]
        if settings.zeroshot:
            prompts = self.output / "prompts.jsonl"
            keyclip("prompts", "--classes", settings.zeroshot, "--output", prompts, "--overwrite", True)
            yield ["--captions", prompts, "--caption-fields", "prompt"]

    def check(self) -> None:
        """Raises: ConfigError, SystemExit: a training has settings that its stage does not take."""
        for training in self.trainings(self.settings.seeds[0]):
            training.check()

    def run(self) -> None:
        """Seed by seed, train all arms in one launch and evaluate them."""
        for seed in self.settings.seeds:
            train(self.settings.ranks, self.trainings(seed))
            for arm in self.arms:
                self._evaluate(arm, seed)

    def runs(self) -> list[Path]:
        """The folders of all trainings, seed by seed."""
        return [training.output for seed in self.settings.seeds for training in self.trainings(seed)]

    def results(self) -> list[Path]:
        """The files of all evaluations, seed by seed; the evaluation of CLIP itself once."""
        return list(dict.fromkeys(self._result(arm, seed) for seed in self.settings.seeds for arm in self.arms))

    def trainings(self, seed: int) -> list[Training]:
        """What the arms of a seed train, in order; a shared stage 1 once."""
        trainings: dict[str, Training] = {}
        for arm in self.arms:
            first = arm.stage1_name
            if arm.stage1 is not None and first is not None and first not in trainings:
                teachers = self._fields(self.point.teacher, "stage1")
                trainings[first] = self._training("stage1", first, seed, arm.stage1, "--teacher-fields", *teachers)
            if arm.stage2 is not None:
                pairs = ["--shards", *self.sources.finetune, "--clip", self.point.clip]
                start = ["--stage1", self._folder(seed) / first] if first else []
                trainings[arm.name] = self._training("stage2", arm.name, seed, arm.stage2, *pairs, *start)
        return list(trainings.values())

    def _training(self, stage: str, name: str, seed: int, own: Settings, *data: object) -> Training:
        """A stage with the settings that all arms share, then the arm's own, which may name another adapter."""
        settings, is_first = self.settings, stage == "stage1"
        further = settings.stage1_config if is_first else settings.stage2_config
        steps = settings.stage1_steps if is_first else settings.stage2_steps
        texts = settings.stage1_texts if is_first else None
        keys = self.draws.file_with(texts, seed) if texts else self.draws.file(seed)
        budget: list[object] = ["--epochs", UNBOUNDED, "--max-steps", steps]
        if settings.epochs is not None:
            budget = ["--epochs", settings.epochs]
        arguments: list[object] = [
            "--recipe", settings.recipe, "--arm", name, "--store", self.sources.store, "--seed", seed, "--keys", keys,
            "--fields", *self._fields(self.point.embedder, stage), *data, *(["--config", further] if further else []),
            *budget, *flags({**settings.adapter(), **own}),
        ]  # fmt: skip
        return Training(stage, self._folder(seed) / name, arguments)

    def _fields(self, prefix: str, stage: str) -> list[str]:
        return [f"{prefix}/{field}" for field in self.settings.captions_of(stage)]

    def _folder(self, seed: int) -> Path:
        return self.output / self.point.folder / f"seed-{seed}"

    def _run_of(self, arm: Arm, seed: int) -> Path | None:
        """The run that is the arm's outcome; None for CLIP as it is."""
        outcome = arm.name if arm.stage2 is not None else arm.stage1_name
        return self._folder(seed) / outcome if outcome else None

    def _result(self, arm: Arm, seed: int) -> Path:
        folder = self._folder(seed) if self._run_of(arm, seed) else self.output / self.point.base_folder
        return folder / "results" / f"{arm.name}.json"

    def _evaluate(self, arm: Arm, seed: int) -> None:
        output, run = self._result(arm, seed), self._run_of(arm, seed)
        if _has_result(output):
            return
        settings, sources, point = self.settings, self.sources, self.point
        title = point.title(arm.title, of_clip=run is None)
        optional = {"--keys": settings.test_keys, "--zeroshot": settings.zeroshot}
        keyclip(
            "eval", "--name", title + (f" (seed {seed})" if run else ""), "--clip", point.clip,
            *(["--checkpoint", run] if run else []), "--shards", *sources.test,
            "--store", sources.store, "--embedder", point.embedder, "--teacher", point.teacher,
            "--captions", *settings.eval_captions, *(["--parts", *settings.test_parts] if settings.test_parts else []),
            *(word for flag, value in optional.items() if value for word in (flag, value)), "--output", output,
        )  # fmt: skip


def _has_result(file: Path) -> bool:
    """Whether an evaluation result is there, whole."""
    try:
        return "retrieval" in json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False

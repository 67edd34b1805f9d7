"""The last sentence of a finished run: where it is, and the command that usually comes next."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def end_sentence(stage: str, config: Any, steps: int, checkpoint: Path) -> str:
    """Names in capitals stand for what the run's settings do not say."""
    command = shlex.join(map(str, _NEXT[stage](config))) if stage in _NEXT else ""
    following = f"; next, for example:\n  {command}" if command else ""
    run = str(config.output)
    return f"{stage} in {run!r} is done after {steps} steps; its checkpoint is {str(checkpoint)!r}{following}"


def _after_pretrain(config: Any) -> Iterable[object]:
    return [
        "keyclip", "embed", "--model", config.output / "clip", "--shards", *config.shards,
        "--caption-fields", *config.caption_fields, "--field-prefix", "clip", "--store", "STORE",
    ]  # fmt: skip


def _after_stage1(config: Any) -> Iterable[object]:
    data = ["--datasets", config.datasets] if config.datasets else ["--shards", *(config.shards or ["SHARDS"])]
    named = [("--store", [config.store] if config.store else []), ("--fields", config.fields)]
    named += [("--keys", [config.keys] if config.keys else [])]
    return [
        "python", "-m", "trainer", "stage2", "--output", "OUTPUT", "--stage1", config.output,
        "--clip", config.clip or "CLIP", *data, *(word for flag, given in named if given for word in (flag, *given)),
    ]  # fmt: skip


def _after_stage2(config: Any) -> Iterable[object]:
    embedder = config.data[0].fields[0].partition("/")[0]
    return [
        "keyclip", "eval", "--clip", config.clip, "--checkpoint", config.output, "--sets", config.eval_sets or "SETS",
        "--store", config.eval_store or "STORE", "--embedder", embedder, "--teacher", "TEACHER", "--output", "RESULT",
    ]  # fmt: skip


_NEXT = {"pretrain": _after_pretrain, "stage1": _after_stage1, "stage2": _after_stage2}

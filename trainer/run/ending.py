"""The last sentence of a finished run: its folder, and the command that usually comes next."""

import shlex
from pathlib import Path
from typing import Any

from store.common.settings import as_flat


def end_sentence(stage: str, config: Any, steps: int, checkpoint: Path) -> str:
    """Names in capitals stand for settings that the run does not have."""
    settings = as_flat(config)
    run = settings["output"]
    command: list[object]
    if stage == "pretrain":
        command = [
            "keyclip", "embed", "--model", run / "clip", "--shards", *settings["shards"],
            "--caption-fields", *settings["caption_fields"], "--field-prefix", "clip", "--store", "STORE",
        ]  # fmt: skip
    elif stage == "stage1":
        data: list[object] = ["--shards", *(settings["shards"] or ["SHARDS"])]
        if settings["datasets"]:
            data = ["--datasets", settings["datasets"]]
        for name in ("store", "fields", "keys"):
            given = settings[name] if name == "fields" else [settings[name]]
            data += [f"--{name}", *given] if any(given) else []
        command = ["python", "-m", "trainer", "stage2", "--output", "OUTPUT", "--stage1", run]
        command += ["--clip", settings["clip"] or "CLIP", *data]
    else:
        command = [
            "keyclip", "eval", "--clip", settings["clip"], "--checkpoint", run,
            "--sets", settings["eval_sets"] or "SETS", "--store", settings["eval_store"] or "STORE",
            "--embedder", settings["data"][0].fields[0].partition("/")[0], "--teacher", "TEACHER", "--output", "RESULT",
        ]  # fmt: skip
    return (
        f"{stage} in {str(run)!r} is done after {steps} steps; its checkpoint is {str(checkpoint)!r}; next, for "
        f"example:\n  {shlex.join(map(str, command))}"
    )

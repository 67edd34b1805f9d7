"""Started by ``deepspeed``: whole trainings one after another in one group of ranks; what they did as json.

``python -m tests.trainer.trainings FOLDER`` with ``settings.json`` of a stage 1 and a stage 2 in it. The last training
ends in an error that only one rank meets, inside the loop.
"""

import contextlib
import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from store.common.command import exit_status
from store.common.settings import build
from tests.trainer.recording import Recording
from trainer.data.samples import ShardSamples
from trainer.engine.deepspeed_engine import leave
from trainer.evaluation.sets.images import ImageSubset
from trainer.evaluation.validation import divided_features
from trainer.model.towers import load_image_tower
from trainer.run.loop import train
from trainer.run.preempt import PreemptedError
from trainer.stage1 import Stage1, Stage1Config
from trainer.stage2 import Stage2, Stage2Config


class Watched(Stage1):
    """Stage 1 that keeps the losses of its micro-batches, measures something every second step, and stops when asked.

    Only rank 1 is asked.
    """

    stop_after = 0
    losses: list[float]

    def __init__(self, config: Stage1Config) -> None:
        super().__init__(config)
        Watched.losses = []
        self.module.register_forward_hook(lambda _, __, output: Watched.losses.append(output[0].item()))

    def after_step(self, engine: Any) -> None:
        if engine.global_steps == self.stop_after and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGTERM)

    def evaluate(self, step: int, last: bool, device: torch.device) -> dict[str, float]:
        return {"eval/step": float(step), "eval/seconds": 0.0} if last or step % 2 == 0 else {}


def watched(settings: dict[str, Any], name: str, stop_after: int = 0, **more: Any) -> dict[str, Any]:
    """What a training said as it was stopped, and the losses of this rank's micro-batches."""
    Watched.stop_after = stop_after
    output = Path(settings["output"]) / name
    config = build(Stage1Config, settings | {"output": output, "store": Path(settings["store"])} | more)
    said = ""
    try:
        train(config, "stage1", Watched)
    except PreemptedError as error:
        said = str(error)
    return {"said": said, "losses": Watched.losses}


def stage2_config(settings: dict[str, Any], **more: Any) -> Stage2Config:
    paths = {name: Path(settings[name]) for name in ("output", "store")}
    return build(Stage2Config, settings | paths | more)


def main(folder: Path) -> None:
    settings = json.loads((folder / "settings.json").read_text())
    stage1, stage2 = settings["stage1"], settings["stage2"]
    rank = int(os.environ["RANK"])
    results: dict[str, Any] = {}
    for zero_stage in (0, 1):
        results[f"accumulated-{zero_stage}"] = watched(
            stage1, f"accumulated-{zero_stage}", zero_stage=zero_stage, accumulation=2, log_every=1
        )
    results["stopped"] = watched(stage1, "stopped", stop_after=2)
    results["continued"] = watched(stage1, "stopped")
    results["short"] = watched(stage1, "longer", max_steps=2)
    results["longer"] = watched(stage1, "longer", max_steps=4)
    Recording.folder, Recording.stop_after = folder / "first", 7
    try:
        train(stage2_config(stage2, output=folder / "moved"), "stage2", Recording)
    except PreemptedError as error:
        results["moved"] = str(error)
    tower, images = load_image_tower(stage2["clip"]), ImageSubset(ShardSamples(stage2["shards"]), range(6))
    with contextlib.redirect_stderr(io.StringIO()) as shown:
        divided_features(tower, images, torch.device("cpu"))
    results["shown"] = shown.getvalue()
    (folder / f"results-{rank}.json").write_text(json.dumps(results))
    stale = stage2_config(stage2, shards=(settings["stale"],), output=folder / "stale", workers=1, broken="error")
    status = exit_status(lambda: train(stale, "stage2", Stage2))
    leave(status)


if __name__ == "__main__":
    main(Path(next(argument for argument in sys.argv[1:] if not argument.startswith("--local_rank"))))

"""Stage 2 that writes down which samples each step trained on, and asks itself to stop after a given step.

``deepspeed --module tests.trainer.recording FOLDER STOP_AFTER FLAGS``, with the flags of stage 2; each rank appends to
a file of its own.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from store.common.command import run_command
from trainer.engine.deepspeed_engine import leave
from trainer.run.loop import train
from trainer.stage2 import Stage2, Stage2Config


class Named:
    """Data whose batches carry the numbers of their samples."""

    def __init__(self, data: Any) -> None:
        self.data, self.sources = data, data.sources

    def load(self, samples, epoch, places):
        return self.data.load(samples, epoch, places) | {"sample": torch.from_numpy(samples)}


class Recording(Stage2):
    folder: Path
    stop_after: int

    def __init__(self, config: Stage2Config) -> None:
        super().__init__(config)
        self.data: Any = Named(self.data)
        self.seen: list[int] = []
        self.module.register_forward_pre_hook(lambda _, batches: self.seen.extend(batches[0].pop("sample").tolist()))

    def after_step(self, engine: Any) -> None:
        super().after_step(engine)
        rank, ranks = dist.get_rank(), dist.get_world_size()
        with (self.folder / f"{ranks}-{rank}.jsonl").open("a") as file:
            file.write(json.dumps({"step": engine.global_steps, "samples": self.seen}) + "\n")
        if engine.global_steps == self.stop_after and rank == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        self.seen = []


if __name__ == "__main__":
    folder, stop_after, *flags = [word for word in sys.argv[1:] if not word.startswith("--local_rank")]
    Recording.folder, Recording.stop_after = Path(folder), int(stop_after)
    leave(run_command(Stage2Config, lambda config: train(config, "stage2", Recording), flags, "recording"))

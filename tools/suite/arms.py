"""The arms of the paper's comparison: what each trains, and from where."""

from dataclasses import dataclass
from typing import Literal

ArmName = Literal["clip", "lit", "llm2clip", "stage1", "no-distillation", "no-structure", "fixed", "proclip"]


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to tune a CLIP.

    Attributes:
        title: what tables call it.
        stage1: training of stage 1 that it begins with, a name of ``STAGE1``; None for a fresh adapter.
        stage2: flags of its stage 2; None where it has none.
    """

    title: str
    stage1: str | None = None
    stage2: tuple[str, ...] | None = None


# trainings of stage 1 by their folder's name -> flags; arms that name the same one share it
STAGE1: dict[str, tuple[str, ...]] = {"stage1": (), "stage1-no-structure": ("--structure", "False")}

ARMS: dict[ArmName, Arm] = {
    "clip": Arm("CLIP"),
    "lit": Arm("LiT", stage2=("--lock-image", "True", "--distill-weight", "0")),
    "llm2clip": Arm("LLM2CLIP", stage2=("--distill-weight", "0")),
    "stage1": Arm("stage 1 only", stage1="stage1"),
    "no-distillation": Arm("without self-distillation", stage1="stage1", stage2=("--distill-weight", "0")),
    "no-structure": Arm("without structure loss", stage1="stage1-no-structure", stage2=("--structure", "False")),
    "fixed": Arm("ProCLIP, fixed teacher", stage1="stage1", stage2=("--teacher", "fixed")),
    "proclip": Arm("ProCLIP", stage1="stage1", stage2=("--teacher", "ema")),
}

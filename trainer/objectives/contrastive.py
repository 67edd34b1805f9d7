"""Stage 2's module: InfoNCE between adapter and image tower, and self-distillation of the image tower.

Legend: B batch, C/H/W image, D embedder width, E joint width.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from trainer.engine.master_weights import clamp_master, master_value
from trainer.model.adapter import Adapter
from trainer.model.teacher import Teacher
from trainer.model.tower_base import Tower
from trainer.objectives import losses
from trainer.settings.config import require


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillConfig:
    """Self-distillation of the image tower."""

    lambda_reg: float = 4e-4
    """Weight of the self-distillation as published, a factor on sums over 512 samples a rank; 0 leaves it out."""
    structure: bool = True
    """Whether self-distillation aligns pairwise distances too."""
    scaling: losses.Scaling = "invariant"
    """invariant: lambda_reg keeps its published meaning at every batch size and number of ranks (512 lambda_reg times
    the means, structure weighed as at 512 samples a rank). reference: lambda_reg times this rank's sums."""
    teacher: Literal["ema", "fixed"] = "ema"
    """The self-distillation's teacher: a moving average of the image tower, or the tower as it was."""
    ema_momentum: float = 0.999
    """Share of itself that the moving average keeps at every step, in [0, 1]; the paper's alpha."""

    def __post_init__(self) -> None:
        require(self.lambda_reg >= 0, "lambda_reg", self.lambda_reg, "at least 0")
        require(0 <= self.ema_momentum <= 1, "ema_momentum", self.ema_momentum, "between 0 and 1")


class ContrastiveObjective(nn.Module):
    """``L_info + lambda_reg (L_ins + L_struct)`` against the image tower's own past (ProCLIP, stage 2).

    Attributes:
        teacher: whose features the image tower is kept near; None leaves the self-distillation out.
    """

    def __init__(self, config: DistillConfig, adapter: Adapter, tower: Tower, teacher: Teacher | None) -> None:
        super().__init__()
        self.adapter, self.image, self.transform, self.teacher = adapter, tower.model, tower.transform, teacher
        self.logit_scale = nn.Parameter(torch.full((1,), losses.INITIAL_LOGIT_SCALE))
        self.structure, self.scaling = config.structure, config.scaling
        self.weight = losses.distillation_weight(config.lambda_reg, config.scaling)
        # a tuple, since DeepSpeed would round a buffer
        self._master_logit_scale = (self.logit_scale.detach().clone(),)

    def forward(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        image_BCHW = self.transform.normalize(batch["image"])
        image_BE = self.image.normalized(image_BCHW)
        text_BE = F.normalize(self.adapter(batch["caption"]).float(), dim=-1)
        logit_scale = self.exact_logit_scale()
        loss = info = losses.contrastive(image_BE, text_BE, logit_scale)
        report = {"loss/contrastive": info, "temperature": 1 / losses.bounded_logit_scale(logit_scale.detach())}
        if self.teacher is not None:
            teacher_BE = self.teacher.features(image_BCHW)
            instance = losses.instance_alignment(image_BE, teacher_BE)
            structure = losses.structure_alignment(image_BE, teacher_BE) if self.structure else instance.new_zeros(())
            report |= {"loss/distill_instance": instance, "loss/distill_structure": structure}
            loss = info + self.weight * losses.alignment(
                instance, structure, len(image_BE), self.scaling, losses.STAGE2_SAMPLES
            )
        return loss, {"loss": loss, **report}

    def exact_logit_scale(self) -> torch.Tensor:
        """The temperature's float32 master weight, (1,), with the gradient of the parameter.

        bfloat16 has no number between 2.65625 and 2.671875: a temperature that follows the rounded parameter moves in
        steps of 1.6 %.
        """
        if self.logit_scale.dtype == torch.float32:
            return self.logit_scale
        (master,) = self._master_logit_scale
        return master.to(self.logit_scale.device) + (self.logit_scale - self.logit_scale.detach()).float()

    def hold_logit_scale(self, engine: Any) -> None:
        """Keep the temperature in bounds and take its master weight for the next steps. A collective call."""
        clamp_master(engine, self.logit_scale, 0.0, losses.MAX_LOGIT_SCALE)
        self._master_logit_scale = (master_value(engine, self.logit_scale).clone(),)

"""Stage 1's module: the adapter inherits CLIP's text space.

Legend: V caption views, B batch, D embedder width, E joint width.
"""

import torch
import torch.nn.functional as F
from torch import nn

from trainer.model.adapter import Adapter
from trainer.model.text_teacher import TextTeacher
from trainer.objectives.losses import STAGE1_SAMPLES, Scaling, alignment, instance_alignment, structure_alignment


class InheritanceObjective(nn.Module):
    """``L_ins`` over all views plus ``L_struct`` on the first (ProCLIP, stage 1).

    ``teacher`` makes the features of captions whose batch holds tokens in place of stored features.
    """

    def __init__(self, adapter: Adapter, structure: bool, scaling: Scaling, teacher: TextTeacher | None = None) -> None:
        super().__init__()
        self.adapter, self.structure, self.scaling, self.teacher = adapter, structure, scaling, teacher

    def forward(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        caption_VBD = batch["caption"]
        views, samples = caption_VBD.shape[:2]
        if self.teacher is None:
            teacher_VBE = batch["teacher"]
        else:
            teacher_VBE = self.teacher.features(batch["tokens"], batch["mask"]).unflatten(0, (views, samples))
        student_VBE = F.normalize(self.adapter(caption_VBD).float(), dim=-1)
        target_VBE = F.normalize(teacher_VBE.float(), dim=-1)
        instance = instance_alignment(student_VBE.flatten(0, 1), target_VBE.flatten(0, 1)) * views
        structure = structure_alignment(student_VBE[0], target_VBE[0]) if self.structure else instance.new_zeros(())
        loss = alignment(instance, structure, samples, self.scaling, STAGE1_SAMPLES)
        cosine = (student_VBE * target_VBE).sum(-1).mean()
        return loss, {"loss": loss, "loss/instance": instance, "loss/structure": structure, "cosine": cosine}

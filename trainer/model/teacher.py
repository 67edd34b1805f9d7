"""The self-distillation's teacher: the image tower as it was, or its moving average.

It is outside the module that DeepSpeed wraps, which would train it, round it and average it over ranks.
"""

import copy

import torch
import torch.nn.functional as F

from store.common.errors import CheckpointError
from trainer.model.lora import Lora, trained_weights
from trainer.model.tower_base import ImageTower

ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2**-6, torch.float16: 2**-9}
"""Equal weights give normalised features that differ by at most this, by precision.

They are not equal bit for bit on every machine: where an input is not contiguous, as in ``nn.MultiheadAttention``,
torch computes ``x @ W.T`` by one large product if W requires a gradient and by a batch of small ones if it does not.
Memory alignment may choose another kernel too. The bounds are four units in the last place of a number near 1 in
half precision, and 84 in float32.
"""


class Teacher:
    """A copy of a plain image tower in the precision that the student computes in.

    Equal weights give equal features up to ``ROUNDING``, step for step, since both weights are rounded alike. The
    average itself is float32 whatever the precision: at momentum 0.9996 a bfloat16 average would lose every update to
    rounding. In float32 it is the copy's own weights.

    Attributes:
        model: the copy; computes the features.
        average: the moving average by parameter name; None for a fixed teacher.
    """

    def __init__(self, tower: ImageTower, precision: torch.dtype, momentum: float | None) -> None:
        self.momentum = momentum
        self.model = copy.deepcopy(tower).requires_grad_(False).eval()
        self.average: dict[str, torch.Tensor] | None = None
        if momentum is not None:
            self.average = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self.model.to(precision)
        if self.average is not None and precision == torch.float32:
            self.average = {name: p for name, p in self.model.named_parameters()}  # noqa: C416

    @torch.no_grad()
    def features(self, image_BCHW: torch.Tensor) -> torch.Tensor:
        """Normalised features: (B, E) float32."""
        return F.normalize(self.model(image_BCHW).float(), dim=-1)

    @torch.no_grad()
    def follow(self, student: ImageTower, lora: Lora | None = None) -> None:
        """``average = momentum * average + (1 - momentum) * student`` of the weights that are trained, in float32.

        Under LoRA it averages the merged weights: the product of averaged matrices is not the average.
        """
        if self.average is None or self.momentum is None:
            return
        shown = dict(self.model.named_parameters())
        for name, value in trained_weights(student, lora).items():
            average = self.average[name]
            average.lerp_(value.detach().to(average.dtype), 1 - self.momentum)
            shown[name].copy_(average)

    def to(self, device: torch.device) -> None:
        self.model.to(device)
        if self.average is None:
            return
        in_place = self.model.dtype == torch.float32
        moved = dict(self.model.named_parameters()) if in_place else self.average
        self.average = {name: value.to(device) for name, value in moved.items()}

    def state(self) -> dict[str, torch.Tensor]:
        """Its tensors in a checkpoint: the average; none of a fixed teacher, which is the tower of the CLIP."""
        return {name: value.detach() for name, value in (self.average or {}).items()}

    @torch.no_grad()
    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Restore :meth:`state`. Raises: CheckpointError: it is of another tower."""
        if self.average is None:
            return
        shown = dict(self.model.named_parameters())
        for name, average in self.average.items():
            if name not in state or state[name].shape != average.shape:
                raise CheckpointError(f"the checkpoint's teacher has no {name!r} of shape {tuple(average.shape)}")
            average.copy_(state[name])
            shown[name].copy_(average)

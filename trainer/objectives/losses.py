"""The losses of ProCLIP (arXiv 2510.18795) as pure functions of features.

Legend: B samples on this rank, G samples on all ranks, E joint width. All features are L2-normalised; all
arithmetic is float32, since distances have no bfloat16 kernel on the CPU and lose small values elsewhere.
"""

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F

from trainer.objectives.gather import gather_rows, mean_over_ranks

MAX_LOGIT_SCALE = math.log(100.0)
INITIAL_LOGIT_SCALE = math.log(1 / 0.07)
STAGE1_SAMPLES, STAGE2_SAMPLES = 128, 512
"""Samples a rank in the paper (table 8): 1,024 = 8 x 128 in stage 1, 4,096 = 8 x 512 in stage 2."""

Scaling = Literal["invariant", "reference"]


def instance_alignment(student_BE: torch.Tensor, target_BE: torch.Tensor) -> torch.Tensor:
    """Mean over samples of the squared distance ``|s - e|^2``: ``L_ins / B`` of the paper."""
    return (student_BE.float() - target_BE.float()).square().sum(dim=-1).mean()


def structure_alignment(student_BE: torch.Tensor, target_BE: torch.Tensor) -> torch.Tensor:
    """Mean over pairs of ``smooth_l1(pdist(s), pdist(e))``: ``L_struct / (B (B - 1) / 2)`` of the paper.

    The pairs are within this rank's batch, as in the reference code. Zero for a batch of one. ``F.pdist`` has a
    finite gradient for duplicate rows, unlike a square root by hand.
    """
    if student_BE.shape[0] < 2:
        return student_BE.float().sum() * 0.0
    return F.smooth_l1_loss(F.pdist(student_BE.float()), F.pdist(target_BE.float()))


def alignment(
    instance: torch.Tensor, structure: torch.Tensor, num_samples: int, scaling: Scaling, published_samples: int
) -> torch.Tensor:
    """``L_ins + L_struct`` (equations 2 and 3 of the paper) from their means.

    The paper sums both terms within a rank: with B samples, ``B * instance + B (B - 1) / 2 * structure``. One term
    grows with B, the other with B^2, so that their shares and every weight depend on the batch size. ``reference`` is
    this sum. ``invariant`` is ``instance + (P - 1) / 2 * structure``, where P is the paper's number of samples a rank
    in the same stage: it is ``reference / P`` at B = P, and the same at every batch size and number of ranks. The
    structure term weighs (128 - 1) / 2 = 63.5 in stage 1 and (512 - 1) / 2 = 255.5 in stage 2.

    Args:
        instance: mean over samples, as :func:`instance_alignment` returns it.
        structure: mean over pairs, as :func:`structure_alignment` returns it.
        num_samples: B, samples of this rank.
        published_samples: P, ``STAGE1_SAMPLES`` or ``STAGE2_SAMPLES``.
    """
    if scaling == "reference":
        return num_samples * (instance + (num_samples - 1) / 2 * structure)
    return instance + (published_samples - 1) / 2 * structure


def distillation_weight(lambda_reg: float, scaling: Scaling) -> float:
    """The factor of :func:`alignment` in stage 2's loss ``L_info + lambda_reg (L_ins + L_struct)``.

    The paper's ``lambda_reg`` is a factor on the sums over 512 samples a rank, hence ``512 * lambda_reg`` on the means
    of ``invariant``: 4e-4 gives 0.2048.
    """
    return lambda_reg if scaling == "reference" else STAGE2_SAMPLES * lambda_reg


class _Bounded(torch.autograd.Function):
    """``clamp(x, low, high)`` whose gradient, at or beyond a bound, passes only where descent leads back inside."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, low: float, high: float) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.bounds = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (x,) = ctx.saved_tensors
        low, high = ctx.bounds
        # the ranks' mean decides: bounding each rank's own gradient would not give the gradient of the whole batch
        gradient = mean_over_ranks(gradient)
        outward = ((x >= high) & (gradient < 0)) | ((x <= low) & (gradient > 0))
        return gradient.masked_fill(outward, 0.0), None, None


def bounded_logit_scale(logit_scale: torch.Tensor) -> torch.Tensor:
    """The inverse temperature ``exp(logit_scale)`` with ``logit_scale`` held in [0, ln 100], float32.

    The bound holds for the value in the loss; the optimiser's master weight is clamped after each step (see
    ``trainer.engine.master_weights``).
    """
    return _Bounded.apply(logit_scale.float(), 0.0, MAX_LOGIT_SCALE).exp()


def contrastive(image_BE: torch.Tensor, text_BE: torch.Tensor, logit_scale: torch.Tensor) -> torch.Tensor:
    """Symmetric InfoNCE over the global batch; this rank's rows against the columns of all ranks.

    Features are gathered with gradient. The value is this rank's share: its mean over ranks, which is what
    data-parallel training optimises, equals the loss of one process on the concatenated batch, as does the gradient,
    also where ranks hold different numbers of samples.
    """
    scale = bounded_logit_scale(logit_scale)
    image_BE, text_BE = image_BE.float(), text_BE.float()
    both, start, ranks = gather_rows(torch.cat([image_BE, text_BE], dim=1))
    image_GE, text_GE = both.chunk(2, dim=1)
    target_B = torch.arange(start, start + image_BE.shape[0], device=image_BE.device)
    image_to_text = F.cross_entropy(scale * image_BE @ text_GE.T, target_B, reduction="sum")
    text_to_image = F.cross_entropy(scale * text_BE @ image_GE.T, target_B, reduction="sum")
    return (image_to_text + text_to_image) / 2 * ranks / image_GE.shape[0]

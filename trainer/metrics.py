"""Retrieval and classification metrics as pure functions of features.

Legend: I images, T texts, N classes, E joint width. Features are L2-normalised float32.
"""

from collections.abc import Mapping

import torch

BLOCK = 1024  # queries compared at a time, so that memory does not grow with their number


def best_ranks(
    query_QE: torch.Tensor, gallery_GE: torch.Tensor, query_owner: torch.Tensor, gallery_owner: torch.Tensor
) -> torch.Tensor:
    """For each query the rank of its best true match: (Q,) int64, from 1.

    A gallery item is a true match where its owner is the query's. Items of other owners that score as high as the
    best match count as ranked before it, so that features without information are not rewarded; neither are NaN.

    Example: query of owner 0, gallery of owners (0, 1, 0, 2) with scores (0.1, 0.9, 0.6, 0.3): the best match scores
    0.6, one other item scores at least that, so the rank is 2.
    """
    ranks = []
    for start in range(0, len(query_QE), BLOCK):
        scores = query_QE[start : start + BLOCK] @ gallery_GE.T
        match = query_owner[start : start + BLOCK, None] == gallery_owner[None, :]
        best = scores.masked_fill(~match, -torch.inf).amax(dim=1, keepdim=True)
        ranks.append(1 + (~(scores < best) & ~match).sum(dim=1))  # `>=` would put nothing before a NaN
    return torch.cat(ranks)


def rank_summary(ranks: torch.Tensor) -> dict[str, float]:
    """R@1, R@5, R@10 (share of queries whose best match is within the first k, in [0, 1]), mean and median rank."""
    as_float = ranks.double()
    recalls = {f"R@{k}": (ranks <= k).double().mean().item() for k in (1, 5, 10)}
    return recalls | {"mean_rank": as_float.mean().item(), "median_rank": as_float.quantile(0.5).item()}


def retrieval(image_IE: torch.Tensor, text_TE: torch.Tensor, owner_T: torch.Tensor) -> dict[str, dict[str, float]]:
    """Image-to-text and text-to-image retrieval; text ``t`` describes image ``owner_T[t]``; an image may have several.

    Returns:
        ``{"image_to_text": summary, "text_to_image": summary}``, see :func:`rank_summary`.
    """
    images = torch.arange(len(image_IE))
    described = torch.isin(images, owner_T)
    return {
        "image_to_text": rank_summary(best_ranks(image_IE[described], text_TE, images[described], owner_T)),
        "text_to_image": rank_summary(best_ranks(text_TE, image_IE, owner_T, images)),
    }


def classifier(prompts: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Class vectors by prompt ensembling: (N, E); per class the mean of its normalised prompt features, renormalised.

    Args:
        prompts: class name -> (P, E) normalised features of the class's prompts.
    """
    means = torch.stack([features.mean(dim=0) for features in prompts.values()])
    return torch.nn.functional.normalize(means, dim=-1)


def accuracy(image_IE: torch.Tensor, class_NE: torch.Tensor, label_I: torch.Tensor) -> dict[str, float]:
    """Top-1 and top-5 accuracy in [0, 1]; ``label_I`` are class positions. Ties count against the true class."""
    ranks = best_ranks(image_IE, class_NE, label_I, torch.arange(len(class_NE)))
    return {
        "top1": (ranks <= 1).double().mean().item(),
        "top5": (ranks <= 5).double().mean().item(),
        "num_classes": len(class_NE),
    }

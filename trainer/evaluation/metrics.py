"""Metrics of retrieval, classification and contrasts as pure functions of features.

Legend: I images, T texts, Q queries, G gallery items, P pairs that match, N classes, E joint width.
Features are L2-normalised float32.
"""

from collections.abc import Mapping

import numpy as np
import torch

from trainer.evaluation.sets.contrasts import Contrasts

SCORES = 32_000_000  # similarities held at a time (128 MB), so that memory does not grow with queries x gallery


def best_ranks(
    query_QE: torch.Tensor, gallery_GE: torch.Tensor, pair_query: torch.Tensor, pair_gallery: torch.Tensor
) -> torch.Tensor:
    """For each query the rank of its best true match: (Q,) int64 on the CPU, from 1.

    ``pair_query`` (P,) and ``pair_gallery`` (P,) are the positions of a query and a gallery item that match; either may
    have several matches. Items that do not match the query but score as high as its best match count as ranked before
    it, and so do NaN scores: features without information are not rewarded.

    Example: one query that matches the items 0 and 2, scores (0.1, 0.9, 0.6, 0.3): the best match scores 0.6, one other
    item scores at least that, so the rank is 2.

    Raises:
        ValueError: a query has no match.
    """
    pairs = torch.stack([pair_query, pair_gallery]).unique(dim=1).to(query_QE.device)  # sorted by query, none twice
    num_pairs = torch.bincount(pairs[0], minlength=len(query_QE))
    if not bool(num_pairs.all()):
        raise ValueError(f"query {int(num_pairs.argmin())} has no match in the gallery")
    ends = num_pairs.cumsum(0).tolist()
    block, ranks, first = max(1, SCORES // len(gallery_GE)), [], 0
    for start in range(0, len(query_QE), block):
        scores = query_QE[start : start + block] @ gallery_GE.T
        last = ends[start + len(scores) - 1]
        row, item = pairs[0, first:last] - start, pairs[1, first:last]
        ranks.append(_ranks_of_best(scores, row, scores[row, item]).cpu())
        first = last
    return torch.cat(ranks)


def _ranks_of_best(scores: torch.Tensor, row: torch.Tensor, matched: torch.Tensor) -> torch.Tensor:
    """Ranks of each row's best match, where ``matched`` (P,) are the scores of the matches of the rows ``row`` (P,)."""
    best = matched.new_full((len(scores),), -torch.inf).scatter_reduce(0, row, matched, "amax")
    behind = scores < best[:, None]
    if behind.device.type == "cpu":  # numpy counts bits at 10 times the speed of torch's sum
        num_behind = torch.from_numpy(np.count_nonzero(behind.numpy(), axis=1))
    else:
        num_behind = behind.sum(dim=1)
    not_behind = scores.shape[1] - num_behind  # counting `>=` would leave out a NaN
    matches_not_behind = torch.zeros_like(not_behind).index_add(0, row, (~(matched < best[row])).long())
    return 1 + not_behind - matches_not_behind


def rank_summary(ranks: torch.Tensor) -> dict[str, float]:
    """R@1, R@5, R@10 (share of queries whose best match is within the first k, in [0, 1]), mean and median rank."""
    as_float = ranks.double()
    recalls = {f"R@{k}": (ranks <= k).double().mean().item() for k in (1, 5, 10)}
    ordered = as_float.sort().values
    median = (ordered[(len(ranks) - 1) // 2] + ordered[len(ranks) // 2]).item() / 2
    return recalls | {"mean_rank": as_float.mean().item(), "median_rank": median}


def retrieval_ranks(
    image_IE: torch.Tensor, text_TE: torch.Tensor, pair_image: torch.Tensor, pair_text: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Ranks of retrieval both ways, where image ``pair_image[p]`` and text ``pair_text[p]`` match.

    An image may have several texts and a text several images; a query is right where any of its matches is found.
    Images and texts without a match ask nothing but stay in the gallery.

    Returns:
        ``{"image_to_text": (images with a text,), "text_to_image": (texts with an image,)}``, int64, by position.
    """
    images, image = pair_image.unique(return_inverse=True)
    texts, text = pair_text.unique(return_inverse=True)
    return {
        "image_to_text": best_ranks(image_IE[images.to(image_IE.device)], text_TE, image, pair_text),
        "text_to_image": best_ranks(text_TE[texts.to(text_TE.device)], image_IE, text, pair_image),
    }


def classifier(prompts: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Class vectors by prompt ensembling, (N, E): of each class the mean of its prompts' features, normalised."""
    means = torch.stack([features.mean(dim=0) for features in prompts.values()])
    return torch.nn.functional.normalize(means, dim=-1)


def class_ranks(image_IE: torch.Tensor, class_NE: torch.Tensor, label_I: torch.Tensor) -> torch.Tensor:
    """For each image the rank of its true class ``label_I``: (I,) int64, from 1. Ties count against the true class."""
    return best_ranks(image_IE, class_NE, torch.arange(len(image_IE)), label_I)


def accuracy(rank_I: torch.Tensor, label_I: torch.Tensor) -> dict[str, float]:
    """Top-1, top-5 and mean-per-class accuracy (averaged over occurring classes), from ranks of true classes."""
    right = (rank_I <= 1).double()
    _, occurring = label_I.unique(return_inverse=True)
    per_class = torch.bincount(occurring, weights=right) / torch.bincount(occurring)
    return {
        "top1": right.mean().item(),
        "top5": (rank_I <= 5).double().mean().item(),
        "mean_per_class": per_class.mean().item(),
    }


def nearer_to_true(image_QE: torch.Tensor, true_QE: torch.Tensor, false_QE: torch.Tensor) -> torch.Tensor:
    """Whether each image is closer to its true text than to the wrong one: (Q,) bool. A tie is wrong."""
    return (image_QE * true_QE).sum(dim=-1) > (image_QE * false_QE).sum(dim=-1)


def pairs_matched(image_Q2E: torch.Tensor, text_Q2E: torch.Tensor) -> torch.Tensor:
    """Whether both texts of each pair are closer to their own image than to the other: (Q,) bool. A tie is wrong.

    As MMVP-VLM's published evaluation does (Tong et al. 2024, Eyes Wide Shut): each text chooses between the images.
    """
    score_QIT = image_Q2E @ text_Q2E.transpose(1, 2)
    first = score_QIT[:, 0, 0] > score_QIT[:, 1, 0]
    return first & (score_QIT[:, 1, 1] > score_QIT[:, 0, 1])


def right_answers(contrasts: Contrasts, image_IE: torch.Tensor, text_TE: torch.Tensor) -> dict[str, torch.Tensor]:
    """Whether each question of each kind is answered right: kind -> (Q,) bool, in the order of the questions."""
    found = {}
    for kind, questions in contrasts.by_kind().items():
        image_QNE = image_IE[torch.tensor([question.images for question in questions])]
        text_Q2E = text_TE[torch.tensor([question.texts for question in questions])]
        if image_QNE.shape[1] == 2:
            found[kind] = pairs_matched(image_QNE, text_Q2E)
        else:
            found[kind] = nearer_to_true(image_QNE[:, 0], text_Q2E[:, 0], text_Q2E[:, 1])
    return found

"""Retrieval and classification metrics, by hand and against the definition written as a loop."""

import math

import pytest
import torch
import torch.nn.functional as F

from trainer.evaluation import metrics
from trainer.evaluation.metrics import (
    accuracy,
    best_ranks,
    class_ranks,
    classifier,
    rank_summary,
    retrieval_ranks,
)


def retrieval(image, text, owner):
    """Summaries both ways, where text ``t`` describes image ``owner[t]``."""
    ranks = retrieval_ranks(image, text, owner, torch.arange(len(text)))
    return {way: rank_summary(values) for way, values in ranks.items()}


def ranks_of(scores, pairs) -> list[int]:
    """Ranks for a given matrix of scores: unit queries pick the columns of the gallery; pairs are (query, item)."""
    queries = torch.eye(len(scores))
    gallery = torch.tensor(scores, dtype=torch.float32).T
    return best_ranks(queries, gallery, *torch.tensor(pairs).T).tolist()


def one_to_one(query, gallery) -> list[int]:
    """Ranks where query i matches item i."""
    return best_ranks(query, gallery, torch.arange(len(query)), torch.arange(len(query))).tolist()


def test_the_rank_is_the_place_of_the_best_true_match():
    # the example of the docstring: the best match scores 0.6, only 0.9 is ahead of it
    assert ranks_of([[0.1, 0.9, 0.6, 0.3]], [(0, 0), (0, 2)]) == [2]


def test_other_true_matches_are_never_counted_as_ahead():
    assert ranks_of([[0.9, 0.8, 0.7, 0.5]], [(0, 0), (0, 1), (0, 2)]) == [1]


def test_a_tie_with_another_item_counts_against_the_match():
    assert ranks_of([[0.5, 0.5, 0.4], [0.5, 0.5, 0.5]], [(0, 0), (1, 1)]) == [2, 3]


def test_features_without_information_rank_last():
    same = F.normalize(torch.ones(4, 3), dim=-1)
    assert one_to_one(same, same) == [4, 4, 4, 4]


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_features_that_are_not_finite_rank_last(broken):
    good = torch.eye(3)
    bad = torch.full((3, 3), broken)
    assert one_to_one(bad, good) == [3, 3, 3]
    assert one_to_one(good, bad) == [3, 3, 3]


def test_recall_at_k_is_the_share_of_queries_with_a_match_in_the_first_k():
    summary = rank_summary(torch.tensor([1, 1, 2, 5, 6, 10, 11, 100]))
    assert summary == {
        "R@1": 2 / 8,
        "R@5": 4 / 8,
        "R@10": 6 / 8,
        "mean_rank": 136 / 8,
        "median_rank": 5.5,  # between the fourth and the fifth
    }


def test_the_median_of_an_odd_number_of_ranks_is_the_middle_one():
    assert rank_summary(torch.tensor([9, 1, 4]))["median_rank"] == 4.0


def test_retrieval_with_several_captions_of_an_image():
    """Two images and three texts; image 0 has two texts, one of which another image likes better."""
    image = torch.eye(2)
    text = F.normalize(torch.tensor([[1.0, 0.5], [0.5, 1.0], [0.6, 0.8]]), dim=-1)
    result = retrieval(image, text, torch.tensor([0, 0, 1]))
    # image 0 scores the texts 0.894, 0.447, 0.6: its first text is on top
    # image 1 scores them 0.447, 0.894, 0.8: its own text is second
    assert result["image_to_text"]["R@1"] == 0.5
    assert result["image_to_text"]["mean_rank"] == 1.5
    # text 0 prefers image 0 (right), text 1 image 1 (wrong), text 2 image 1 (right)
    assert result["text_to_image"]["R@1"] == pytest.approx(2 / 3)
    assert result["text_to_image"]["mean_rank"] == pytest.approx(4 / 3)


def test_recall_is_not_averaged_over_the_captions_of_an_image():
    """One of five captions in the first place is a hit, not a fifth of one."""
    image = torch.eye(6)
    text = torch.cat([torch.eye(6)[:1], torch.eye(6)[1:5], torch.eye(6)])
    owner = torch.tensor([0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5])
    # image 0 by its first text and image 5; images 1 to 4 tie with the other texts of image 0
    assert retrieval(image, text, owner)["image_to_text"]["R@1"] == pytest.approx(2 / 6)


def test_images_without_a_text_ask_nothing_but_stay_in_the_gallery():
    image = torch.eye(3)
    result = retrieval(image, torch.eye(3)[1:2], torch.tensor([0]))  # the only text, of image 0, looks like image 1
    assert result["image_to_text"] == rank_summary(torch.tensor([1]))
    assert result["text_to_image"] == rank_summary(torch.tensor([3]))  # images 0 and 2 tie at 0 behind image 1


def test_a_pair_that_is_named_twice_counts_once():
    assert ranks_of([[0.1, 0.9, 0.6]], [(0, 2), (0, 2)]) == [2]


def test_a_query_without_a_match_is_refused():
    with pytest.raises(ValueError, match="query 1 has no match in the gallery"):
        ranks_of([[0.1, 0.9], [0.1, 0.9]], [(0, 0)])


def test_a_caption_of_several_images_is_right_where_any_of_them_is_found():
    """Text 0 describes images 0 and 1, text 1 image 2."""
    image = torch.eye(3)
    text = F.normalize(torch.tensor([[0.1, 0.9, 0.3], [0.9, 0.1, 0.4]]), dim=-1)
    ranks = retrieval_ranks(image, text, torch.tensor([0, 1, 2]), torch.tensor([0, 0, 1]))
    # text 0 prefers image 1, one of its own; text 1 prefers image 0, then its own
    assert ranks["text_to_image"].tolist() == [1, 2]
    # image 0 prefers text 1 (wrong), image 1 text 0 (right), image 2 text 1 (right)
    assert ranks["image_to_text"].tolist() == [2, 1, 1]


def matrices(num_images=60, num_texts=230, pairs_of_a_text=1):
    """Random features and pairs; every image and every text has one at least."""
    random = torch.Generator().manual_seed(0)
    image = F.normalize(torch.randn(num_images, 8, generator=random), dim=-1)
    text = F.normalize(torch.randn(num_texts, 8, generator=random), dim=-1)
    pair_text = torch.arange(num_texts).repeat(pairs_of_a_text)
    first = torch.arange(num_texts) % num_images
    others = torch.randint(0, num_images, (num_texts * (pairs_of_a_text - 1),), generator=random)
    return image, text, torch.cat([first, others]), pair_text


@pytest.mark.parametrize("pairs_of_a_text", [1, 3])
@pytest.mark.parametrize("similarities", [1, 1000, 16_000_000])
def test_blocks_of_queries_give_what_a_loop_over_queries_gives(monkeypatch, similarities, pairs_of_a_text):
    monkeypatch.setattr(metrics, "SCORES", similarities)
    image, text, pair_image, pair_text = matrices(pairs_of_a_text=pairs_of_a_text)
    pairs = set(zip(pair_image.tolist(), pair_text.tolist(), strict=True))
    scores = (image @ text.T).tolist()
    expected = []
    for i, row in enumerate(scores):
        best = max(score for t, score in enumerate(row) if (i, t) in pairs)
        expected.append(1 + sum(score >= best for t, score in enumerate(row) if (i, t) not in pairs))
    assert retrieval_ranks(image, text, pair_image, pair_text)["image_to_text"].tolist() == expected


def share_with_a_match_among_the_first(scores, matches, k) -> float:
    """Recall@k as LAION's CLIP_benchmark defines it: the true matches among the k best of a query, as a share of all
    its true matches, is above zero; averaged over the queries.
    """
    hits = 0
    for row, own in zip(scores, matches, strict=True):
        best = sorted(range(len(row)), key=lambda item: -row[item])[:k]
        hits += sum(own[item] for item in best) / sum(own) > 0
    return hits / len(scores)


@pytest.mark.parametrize("pairs_of_a_text", [1, 3])
def test_recalls_agree_with_the_definition_of_clip_benchmark(pairs_of_a_text):
    image, text, pair_image, pair_text = matrices(pairs_of_a_text=pairs_of_a_text)
    positive = torch.zeros(len(text), len(image), dtype=torch.bool)
    positive[pair_text, pair_image] = True
    scores = text @ image.T
    ranks = retrieval_ranks(image, text, pair_image, pair_text)
    for k in (1, 5, 10):
        to_image = share_with_a_match_among_the_first(scores.tolist(), positive.tolist(), k)
        to_text = share_with_a_match_among_the_first(scores.T.tolist(), positive.T.tolist(), k)
        assert rank_summary(ranks["text_to_image"])[f"R@{k}"] == pytest.approx(to_image, abs=1e-12)
        assert rank_summary(ranks["image_to_text"])[f"R@{k}"] == pytest.approx(to_text, abs=1e-12)


def test_a_class_vector_is_the_normalised_mean_of_its_prompts():
    prompts = {"cat": torch.tensor([[1.0, 0.0], [0.0, 1.0]]), "dog": torch.tensor([[0.6, 0.8]])}
    assert classifier(prompts).tolist() == [pytest.approx([0.5**0.5, 0.5**0.5]), pytest.approx([0.6, 0.8])]


def test_accuracy_counts_the_first_and_the_first_five_classes():
    classes = torch.eye(7)
    image = F.normalize(torch.tensor([[7.0, 6, 5, 4, 3, 2, 1]] * 3), dim=-1)  # prefers class 0, then 1, ...
    ranks = class_ranks(image, classes, torch.tensor([0, 4, 5]))
    assert ranks.tolist() == [1, 5, 6]
    result = accuracy(ranks, torch.tensor([0, 4, 5]))
    assert result == {
        "top1": pytest.approx(1 / 3),
        "top5": pytest.approx(2 / 3),
        "mean_per_class": pytest.approx(1 / 3),
    }


def test_mean_per_class_accuracy_gives_a_rare_class_the_weight_of_a_frequent_one():
    ranks, labels = torch.tensor([1, 1, 1, 2, 1, 3]), torch.tensor([0, 0, 0, 0, 2, 2])  # class 1 has no image
    assert accuracy(ranks, labels)["mean_per_class"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert accuracy(ranks, labels)["top1"] == pytest.approx(4 / 6)


def test_an_image_that_ties_between_two_classes_is_wrong():
    image = F.normalize(torch.ones(1, 2), dim=-1)
    assert class_ranks(image, torch.eye(2), torch.tensor([0])).tolist() == [2]


@pytest.mark.gpu
def test_ranks_on_a_gpu_are_those_on_the_cpu():
    image, text, pair_image, pair_text = matrices(num_images=300, num_texts=1500)
    here = retrieval_ranks(image, text, pair_image, pair_text)
    there = retrieval_ranks(image.cuda(), text.cuda(), pair_image, pair_text)
    for way, ranks in here.items():
        assert there[way].device.type == "cpu"
        assert (ranks == there[way]).double().mean() > 0.999  # sums in another order may swap neighbours

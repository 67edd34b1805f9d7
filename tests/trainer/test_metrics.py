"""Retrieval and classification metrics, by hand and against the definition written as a loop."""

import math

import pytest
import torch
import torch.nn.functional as F

from trainer.metrics import BLOCK, accuracy, best_ranks, classifier, rank_summary, retrieval


def ranks_of(scores, owners_of_queries, owners_of_gallery) -> list[int]:
    """Ranks for a given matrix of scores: unit queries pick the columns of the gallery."""
    queries = torch.eye(len(scores))
    gallery = torch.tensor(scores, dtype=torch.float32).T
    return best_ranks(queries, gallery, torch.tensor(owners_of_queries), torch.tensor(owners_of_gallery)).tolist()


def test_the_rank_is_the_place_of_the_best_true_match():
    # the example of the docstring: the best match scores 0.6, only 0.9 is ahead of it
    assert ranks_of([[0.1, 0.9, 0.6, 0.3]], [0], [0, 1, 0, 2]) == [2]


def test_other_true_matches_are_never_counted_as_ahead():
    assert ranks_of([[0.9, 0.8, 0.7, 0.5]], [0], [0, 0, 0, 1]) == [1]


def test_a_tie_with_another_item_counts_against_the_match():
    assert ranks_of([[0.5, 0.5, 0.4], [0.5, 0.5, 0.5]], [0, 1], [0, 1, 2]) == [2, 3]


def test_features_without_information_rank_last():
    same = F.normalize(torch.ones(4, 3), dim=-1)
    assert best_ranks(same, same, torch.arange(4), torch.arange(4)).tolist() == [4, 4, 4, 4]


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_features_that_are_not_finite_rank_last(broken):
    good = torch.eye(3)
    bad = torch.full((3, 3), broken)
    assert best_ranks(bad, good, torch.arange(3), torch.arange(3)).tolist() == [3, 3, 3]
    assert best_ranks(good, bad, torch.arange(3), torch.arange(3)).tolist() == [3, 3, 3]


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


def test_blocks_of_queries_give_what_a_loop_over_queries_gives():
    random = torch.Generator().manual_seed(0)
    num_queries, num_gallery = BLOCK + 300, 60
    query = F.normalize(torch.randn(num_queries, 8, generator=random), dim=-1)
    gallery = F.normalize(torch.randn(num_gallery, 8, generator=random), dim=-1)
    query_owner = torch.randint(0, 20, (num_queries,), generator=random)
    gallery_owner = torch.arange(num_gallery) % 20
    expected = []
    for i in range(num_queries):
        scores = (query[i] @ gallery.T).tolist()
        best = max(s for s, o in zip(scores, gallery_owner.tolist(), strict=True) if o == query_owner[i])
        others = [s for s, o in zip(scores, gallery_owner.tolist(), strict=True) if o != query_owner[i]]
        expected.append(1 + sum(s >= best for s in others))
    assert best_ranks(query, gallery, query_owner, gallery_owner).tolist() == expected


def test_a_class_vector_is_the_normalised_mean_of_its_prompts():
    prompts = {"cat": torch.tensor([[1.0, 0.0], [0.0, 1.0]]), "dog": torch.tensor([[0.6, 0.8]])}
    assert classifier(prompts).tolist() == [pytest.approx([0.5**0.5, 0.5**0.5]), pytest.approx([0.6, 0.8])]


def test_accuracy_counts_the_first_and_the_first_five_classes():
    classes = torch.eye(7)
    image = F.normalize(torch.tensor([[7.0, 6, 5, 4, 3, 2, 1]] * 3), dim=-1)  # prefers class 0, then 1, ...
    result = accuracy(image, classes, torch.tensor([0, 4, 5]))
    assert result == {"top1": pytest.approx(1 / 3), "top5": pytest.approx(2 / 3), "num_classes": 7}


def test_an_image_that_ties_between_two_classes_is_wrong():
    image = F.normalize(torch.ones(1, 2), dim=-1)
    assert accuracy(image, torch.eye(2), torch.tensor([0]))["top1"] == 0.0

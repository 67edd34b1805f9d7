"""Linear probes: a planted problem is solved, and what chooses the regularisation is the validation part alone."""

import sys
from dataclasses import astuple

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from store.common.errors import ConfigError
from trainer.evaluation.linear_probe import LAST, Labelled, fit_probe, held_out, search, strength


def planted(images: int, seed: int, classes: int = 3, noise: float = 0.2) -> Labelled:
    """Images around one direction for each class."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % classes
    points = torch.eye(8)[labels] + noise * torch.randn(images, 8, generator=random)
    return Labelled(torch.nn.functional.normalize(points, dim=-1), labels)


def test_a_separable_problem_is_solved():
    probe = fit_probe(planted(60, 0), planted(30, 1), 3, "top1")
    ranks = probe.ranks(planted(90, 2))
    assert (ranks == 1).double().mean() >= 0.97
    assert probe.validation_accuracy >= 0.97


def test_two_classes_and_a_class_without_training_images():
    """The third class is never guessed, and its images rank last."""
    probe = fit_probe(planted(40, 0, classes=2), planted(20, 1, classes=2), 3, "top1")
    assert (probe.ranks(planted(40, 2, classes=2)) == 1).double().mean() >= 0.95
    assert probe.ranks(Labelled(planted(10, 3).features, torch.full((10,), 2))).tolist() == [3] * 10


def scores(train: Labelled, judged: Labelled, point: int) -> float:
    """Accuracy on ``judged`` of scikit-learn's own classifier, fitted on ``train`` at a point of the search."""
    model = LogisticRegression(C=strength(point), max_iter=1000)
    model.fit(train.features.numpy(), train.labels.numpy())
    return float(model.score(judged.features.numpy(), judged.labels.numpy()))


def test_regularisation_is_chosen_by_the_validation_part_alone():
    """A quarter of the training labels is wrong, so that the training part alone would take weaker regularisation."""
    train, validation = planted(60, 0, noise=0.6), planted(60, 1, noise=0.6)
    wrong = train.labels.clone()
    wrong[::4] = (wrong[::4] + 1) % 3
    train = Labelled(train.features, wrong)
    probe = fit_probe(train, validation, 3, "top1")
    point, best = search(lambda point: scores(train, validation, point))
    assert (probe.C, probe.validation_accuracy) == (strength(point), pytest.approx(best))
    by_training, _ = search(lambda point: scores(train, train, point))
    assert strength(by_training) > 10 * probe.C


def test_the_last_fit_has_the_validation_part_too():
    """Class 1 is rare in the training part and frequent in the validation part: its bias grows with the last fit."""
    train = planted(60, 0, classes=2)
    train = train.part((train.labels == 0) | (torch.arange(60) < 6))
    validation = planted(60, 1, classes=2)
    probe = fit_probe(train, validation, 2, "mean_per_class")
    both = Labelled(*(torch.cat(pair) for pair in zip(*map(astuple, (train, validation)), strict=True)))
    model = LogisticRegression(C=probe.C, max_iter=1000).fit(both.features.numpy(), both.labels.numpy())
    torch.testing.assert_close(probe.class_NF[1, -1].item(), float(model.intercept_[0]), rtol=0, atol=1e-3)


@pytest.mark.parametrize("peak", [0, 1, 37, 50, 95, 96])
def test_the_search_finds_a_single_peak_with_few_fits(peak):
    tried = []

    def validate(point):
        tried.append(point)
        return -abs(point - peak)

    assert search(validate) == (peak, 0)
    assert len(tried) == len(set(tried)) <= 15
    assert tried[:7] == [0, 16, 32, 48, 64, 80, 96]


def test_of_equal_values_the_strongest_regularisation_is_taken():
    assert search(lambda point: 1.0)[0] == 0
    assert (strength(0), strength(48), strength(LAST)) == pytest.approx((1e-6, 1.0, 1e6))
    assert strength(9) / strength(8) == pytest.approx(10 ** (1 / 8))


def test_a_fifth_of_each_class_is_held_out_the_same_every_time():
    labels = torch.tensor([0] * 10 + [1] * 5 + [2] * 2 + [3])
    mask = held_out(labels)
    assert [int(mask[labels == label].sum()) for label in range(4)] == [2, 1, 1, 0]
    assert torch.equal(mask, held_out(labels))
    assert not torch.equal(mask, held_out(labels, seed=1))


def test_a_probe_without_two_classes_or_without_validation_is_refused():
    one = Labelled(torch.eye(3), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ConfigError, match=r"needs two classes to train on .*; there are 1 classes and 3 images"):
        fit_probe(one, one, 3, "top1")
    with pytest.raises(ConfigError, match="3 classes and 0 images"):
        fit_probe(planted(9, 0), planted(0, 0), 3, "top1")


def test_scikit_learn_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(ConfigError, match=r"needs scikit-learn, which is not installed; pip install 'keyclip\[probe"):
        fit_probe(planted(9, 0), planted(9, 1), 3, "top1")

"""CKA against values by hand, against the definition with n x n matrices, and what it does not see."""

import pytest
import torch

from trainer.evaluation.cka import linear_cka


def features(seed: int, images: int = 40, width: int = 6) -> torch.Tensor:
    return torch.randn(images, width, generator=torch.Generator().manual_seed(seed))


def by_definition(x: torch.Tensor, y: torch.Tensor) -> float:
    """Song et al. 2012, equation 5, from kernel matrices with zeros on their diagonals."""

    def hsic(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        n = len(a)
        one = torch.ones(n, dtype=torch.float64)
        k, m = a @ a.T, b @ b.T
        k.fill_diagonal_(0)
        m.fill_diagonal_(0)
        third = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
        return (torch.trace(k @ m) + third - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))

    x, y = x.double(), y.double()
    return (hsic(x, y) / (hsic(x, x) * hsic(y, y)).sqrt()).item()


def test_the_same_features_have_one():
    assert linear_cka(features(0), features(0)) == pytest.approx(1.0, abs=1e-12)


def test_four_images_on_a_line_by_hand():
    """Kernels without diagonal of (1, 1, 0, 0) and (1, 0, 1, 0) have one pair each, disjoint: tr(KL) = 0,
    1'K1 = 1'L1 = 2 and 1'KL1 = 1, so HSIC is (4/6 - 1) / 4 = -1/12. Of each with itself: tr = 2, 1'KK1 = 2,
    (2 + 4/6 - 2) / 4 = 1/6."""
    x, y = torch.tensor([[1.0], [1.0], [0.0], [0.0]]), torch.tensor([[1.0], [0.0], [1.0], [0.0]])
    assert linear_cka(x, y) == pytest.approx((-1 / 12) / (1 / 6))


def test_it_equals_the_definition_with_matrices_of_all_pairs():
    x = features(1)
    y = x @ features(2, 6, 9) + 0.5 * features(3, 40, 9) + 7
    assert 0.1 < linear_cka(x, y) < 0.99
    assert linear_cka(x, y) == pytest.approx(by_definition(x, y), abs=1e-10)


def test_rotations_scales_and_shifts_do_not_change_it_and_a_squeeze_does():
    x, y = features(1), features(1) + features(4)
    rotation, _ = torch.linalg.qr(features(5, 6, 6))
    assert linear_cka(x, 3 * x @ rotation - 2) == pytest.approx(1.0, abs=1e-5)
    assert linear_cka(x @ rotation, y) == pytest.approx(linear_cka(x, y), abs=1e-5)
    assert linear_cka(x, x * torch.tensor([10.0, 1, 1, 1, 1, 1])) < 0.7


def test_unrelated_features_have_about_zero_also_where_they_are_wider_than_images_are_many():
    values = [linear_cka(features(10 + i, 30, 200), features(50 + i, 30, 200)) for i in range(20)]
    assert abs(sum(values) / 20) < 0.02  # the plain estimator has about 0.9 here


def test_too_few_images_or_others_are_refused():
    with pytest.raises(ValueError, match="3 and 3 images; expected the same 4 or more"):
        linear_cka(features(0, 3), features(0, 3))
    with pytest.raises(ValueError, match="5 and 6 images"):
        linear_cka(features(0, 5), features(0, 6))

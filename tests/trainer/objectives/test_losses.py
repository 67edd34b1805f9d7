"""Every loss against values and gradients worked out by hand."""

import math
from itertools import combinations

import pytest
import torch

from trainer.objectives.losses import (
    MAX_LOGIT_SCALE,
    STAGE1_SAMPLES,
    STAGE2_SAMPLES,
    alignment,
    bounded_logit_scale,
    contrastive,
    distillation_weight,
    instance_alignment,
    structure_alignment,
)

# rows on a line, so that distances are differences: pairs (01, 02, 12) lie 3, 1, 2 and 1, 1.5, 0.5 apart
STUDENT = [[0.0], [3.0], [1.0]]
TARGET = [[0.0], [1.0], [1.5]]


def leaf(values) -> torch.Tensor:
    return torch.tensor(values, requires_grad=True)


def test_the_instance_loss_is_the_mean_squared_distance():
    student = leaf([[1.0, 0.0], [0.0, 1.0]])
    loss = instance_alignment(student, torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    loss.backward()
    assert loss.item() == 1.0  # (2 + 0) / 2
    assert student.grad.tolist() == [[1.0, -1.0], [0.0, 0.0]]  # 2 (s - e) / 2


def test_the_structure_loss_is_the_mean_smooth_l1_of_pairwise_distances():
    student = leaf(STUDENT)
    loss = structure_alignment(student, torch.tensor(TARGET))
    loss.backward()
    # distances differ by 2, -0.5 and 1.5; smooth l1 makes 1.5, 0.125 and 1 of them
    assert loss.item() == pytest.approx((1.5 + 0.125 + 1.0) / 3)
    # d/d distance is (1, -0.5, 1) / 3; each distance pulls its two rows in opposite directions
    assert student.grad.flatten().tolist() == pytest.approx([-1 / 6, 2 / 3, -1 / 2])


def test_duplicate_rows_give_finite_gradients():
    student = leaf([[0.6, 0.8], [0.6, 0.8], [1.0, 0.0]])
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    loss = structure_alignment(student, target) + instance_alignment(student, target)
    loss.backward()
    assert math.isfinite(loss.item())
    assert student.grad.isfinite().all()
    assert student.grad.abs().sum() > 0


def test_rows_that_are_all_the_same_give_a_zero_structure_gradient():
    student = leaf([[0.6, 0.8]] * 3)
    structure_alignment(student, torch.eye(3)).backward()
    assert student.grad.tolist() == [[0.0, 0.0]] * 3


def test_a_batch_of_one_has_no_structure_but_still_a_gradient():
    student = leaf([[0.6, 0.8]])
    loss = structure_alignment(student, torch.tensor([[1.0, 0.0]]))
    loss.backward()
    assert loss.item() == 0.0
    assert student.grad.tolist() == [[0.0, 0.0]]


def test_both_losses_of_equal_features_are_exactly_zero_with_zero_gradient():
    features = torch.nn.functional.normalize(torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    student = features.clone().requires_grad_()
    loss = instance_alignment(student, features) + structure_alignment(student, features)
    loss.backward()
    assert loss.item() == 0.0
    assert not student.grad.any()


def test_half_precision_features_are_compared_in_float32():
    student, target = torch.tensor(STUDENT).bfloat16(), torch.tensor(TARGET).bfloat16()
    assert structure_alignment(student, target).dtype == torch.float32
    assert structure_alignment(student, target).item() == pytest.approx(2.625 / 3)
    assert instance_alignment(student, target).item() == pytest.approx((0 + 4 + 0.25) / 3)


def test_reference_scaling_is_the_published_sum_over_samples_and_pairs():
    # 4 samples of mean 2 sum to 8; their 6 pairs of mean 3 sum to 18
    for published in (STAGE1_SAMPLES, STAGE2_SAMPLES):
        assert alignment(torch.tensor(2.0), torch.tensor(3.0), 4, "reference", published).item() == 26.0


@pytest.mark.parametrize(("published", "share"), [(STAGE1_SAMPLES, 63.5), (STAGE2_SAMPLES, 255.5)])
def test_invariant_scaling_is_the_published_sum_over_its_samples_at_the_published_batch(published, share):
    instance, structure = torch.tensor(0.7), torch.tensor(0.03)
    reference = alignment(instance, structure, published, "reference", published) / published
    assert alignment(instance, structure, published, "invariant", published).item() == pytest.approx(reference.item())
    for num_samples in (1, 4, 64, 128, 512, 2048):
        loss = alignment(torch.tensor(2.0), torch.tensor(3.0), num_samples, "invariant", published)
        assert loss.item() == 2 + share * 3


def test_the_published_samples_are_those_of_table_8():
    assert (STAGE1_SAMPLES, STAGE2_SAMPLES) == (1024 // 8, 4096 // 8)


@pytest.mark.parametrize(
    ("lambda_reg", "weight"), [(0.0, 0.0), (2e-4, 0.1024), (4e-4, 0.2048), (6e-4, 0.3072), (1e-3, 0.512)]
)
def test_lambda_reg_is_a_factor_on_sums_over_512_samples(lambda_reg, weight):
    assert distillation_weight(lambda_reg, "invariant") == pytest.approx(weight, rel=1e-12)
    assert distillation_weight(lambda_reg, "reference") == lambda_reg


@pytest.mark.parametrize(("ranks", "per_rank"), [(8, 512), (16, 256), (1, 512), (4, 64), (2, 3)])
def test_the_regulariser_means_the_same_at_every_batch_size_and_number_of_ranks(ranks, per_rank):
    """One squared distance of 0.5 and one pairwise difference of 0.1 everywhere: 4e-4 (512 x 0.5 + 130,816 x 0.005)."""
    instance, structure = torch.tensor(0.5), torch.tensor(0.005)
    of_ranks = [
        distillation_weight(4e-4, "invariant") * alignment(instance, structure, per_rank, "invariant", STAGE2_SAMPLES)
        for _ in range(ranks)
    ]
    published = 4e-4 * (512 * 0.5 + 512 * 511 / 2 * 0.005)  # 0.1024 + 0.261632
    assert published == pytest.approx(0.364032)
    assert sum(of_ranks).item() / ranks == pytest.approx(published)  # gradients are means over ranks


def test_invariant_scaling_means_the_same_however_the_samples_are_split():
    """Over all ways to split 6 samples into two batches of 3, the mean loss is the loss of the 6 together."""
    random = torch.Generator().manual_seed(1)
    student, target = (torch.nn.functional.normalize(torch.randn(6, 4, generator=random), dim=-1) for _ in range(2))

    def loss(rows: list[int], scaling) -> float:
        instance = instance_alignment(student[rows], target[rows])
        return alignment(
            instance, structure_alignment(student[rows], target[rows]), len(rows), scaling, STAGE2_SAMPLES
        ).item()

    def mean_of_splits(scaling) -> float:
        parts = [list(part) for part in combinations(range(6), 3)]  # each half once; its other half is among them
        return sum(loss(part, scaling) for part in parts) / len(parts)

    whole = list(range(6))
    assert mean_of_splits("invariant") == pytest.approx(loss(whole, "invariant"), rel=1e-5)
    assert mean_of_splits("reference") < 0.6 * loss(whole, "reference")


def test_the_contrastive_loss_of_two_orthogonal_pairs():
    image, scale = leaf([[1.0, 0.0], [0.0, 1.0]]), leaf([0.0])
    text = torch.eye(2)
    loss = contrastive(image, text, scale)
    loss.backward()
    # logits are 1 on the diagonal and 0 beside it; the wrong partner has probability q = 1 / (1 + e)
    q = 1 / (1 + math.e)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)))
    assert image.grad.tolist() == [pytest.approx([-q / 2, q / 2]), pytest.approx([q / 2, -q / 2])]
    assert scale.grad.item() == pytest.approx(-q)  # d ln(1 + exp(-s)) / ds at s = 1


def test_the_contrastive_loss_of_features_without_information_is_the_log_of_the_batch_size():
    same = torch.tensor([[0.6, 0.8]] * 5)
    assert contrastive(same, same, torch.tensor([2.0])).item() == pytest.approx(math.log(5))


def test_the_contrastive_loss_is_symmetric_in_images_and_texts():
    random = torch.Generator().manual_seed(2)
    image, text = (torch.nn.functional.normalize(torch.randn(6, 4, generator=random), dim=-1) for _ in range(2))
    scale = torch.tensor([1.5])
    assert contrastive(image, text, scale).item() == pytest.approx(contrastive(text, image, scale).item())


@pytest.mark.parametrize(
    ("logit_scale", "slope", "value", "gradient"),
    [
        (1.0, 1.0, math.e, math.e),
        (1.0, -1.0, math.e, -math.e),
        (MAX_LOGIT_SCALE, 1.0, 100.0, 100.0),  # descent leads inwards
        (MAX_LOGIT_SCALE, -1.0, 100.0, 0.0),  # descent leads outwards
        (9.0, 1.0, 100.0, 100.0),
        (9.0, -1.0, 100.0, 0.0),
        (0.0, -1.0, 1.0, -1.0),  # descent leads inwards
        (0.0, 1.0, 1.0, 0.0),  # descent leads outwards
        (-3.0, -1.0, 1.0, -1.0),
        (-3.0, 1.0, 1.0, 0.0),
    ],
)
def test_the_inverse_temperature_stays_in_bounds_and_its_gradient_leads_only_inwards(
    logit_scale, slope, value, gradient
):
    parameter = leaf([logit_scale])
    scale = bounded_logit_scale(parameter)
    (slope * scale).sum().backward()
    assert scale.item() == pytest.approx(value)
    assert parameter.grad.item() == pytest.approx(gradient)

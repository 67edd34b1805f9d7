"""The teacher: an average in float32 of what the student computes with, or the tower as it was."""

import copy

import pytest
import torch

from tests.embedder.small_models import save_siglip
from trainer.model.lora import Lora, add_lora, trained_weights
from trainer.model.teacher import ROUNDING, Teacher
from trainer.model.tower_base import ImageTower
from trainer.model.towers import load_image_tower


@pytest.fixture
def tower(clip_folder) -> ImageTower:
    return load_image_tower(str(clip_folder)).model


def pixels() -> torch.Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def weight(holder) -> torch.Tensor:
    """One of a tower's weights."""
    return holder.get_parameter("vision.visual_projection.weight")


@torch.no_grad()
def shift(tower: ImageTower, by: float) -> None:
    for parameter in tower.parameters():
        if parameter.requires_grad:
            parameter += by


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_moving_average_is_taken_in_float32_whatever_the_precision(tower, precision):
    """At 0.999 an average kept in bfloat16 would not move at all: 1 + 0.0004 x (2 - 1) rounds to 1."""
    with torch.no_grad():
        weight(tower).fill_(1.0)
    teacher = Teacher(tower, precision, 0.999)
    student = copy.deepcopy(tower).to(precision)
    with torch.no_grad():
        weight(student).fill_(2.0)
    for steps in range(1, 4):
        teacher.follow(student)
        average = teacher.average["vision.visual_projection.weight"]
        assert average.dtype == torch.float32
        assert average.tolist() == [[pytest.approx(2 - 0.999**steps, abs=1e-6)] * 32] * 16
    assert teacher.model.dtype == precision
    assert (weight(student) == 2.0).all()


@pytest.mark.parametrize(("momentum", "expected"), [(1.0, 1.0), (0.0, 3.0), (0.75, 1.5)])
def test_the_momentum_is_the_share_that_the_average_keeps(tower, momentum, expected):
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.fill_(1.0)
    teacher = Teacher(tower, torch.float32, momentum)
    shift(tower, 2.0)
    teacher.follow(tower)
    assert all((p == expected).all() for p in teacher.model.parameters())


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_fixed_teacher_stays_as_the_tower_was_and_keeps_no_second_copy(tower, precision):
    teacher = Teacher(tower, precision, None)
    before = teacher.features(pixels())
    shift(tower, 1.0)
    teacher.follow(tower)
    assert torch.equal(teacher.features(pixels()), before)
    assert teacher.average is None
    assert not teacher.state()


def test_in_float32_the_average_is_the_model_itself(tower):
    teacher = Teacher(tower, torch.float32, 0.9)
    for move in (lambda: None, lambda: teacher.to(torch.device("cpu"))):
        move()
        assert all(teacher.average[name] is p for name, p in teacher.model.named_parameters())


@pytest.fixture(scope="module", params=["clip", "siglip", "siglip2"])
def folder(request, clip_folder, tmp_path_factory):
    if request.param == "clip":
        return clip_folder
    folder = tmp_path_factory.mktemp("models") / request.param
    save_siglip(folder)
    return folder


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_equal_weights_give_equal_features_up_to_rounding(folder, precision):
    """The student's weights require a gradient, the teacher's do not: torch may choose other kernels for them."""
    plain = load_image_tower(str(folder)).model
    teacher = Teacher(plain, precision, 0.0)
    student = copy.deepcopy(plain).to(precision).train()
    with torch.no_grad():
        random = torch.Generator().manual_seed(1)
        for parameter in student.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=random).to(precision)

    def difference() -> float:
        return (teacher.features(pixels()) - student.normalized(pixels())).abs().max().item()

    assert difference() > 0.05 > ROUNDING[precision]
    teacher.follow(student)
    assert difference() <= ROUNDING[precision]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_under_lora_the_average_is_that_of_the_weights_which_the_matrices_make(tower, precision):
    """Half of the first weight and half of the second; the averaged matrices would make another one."""
    lora = Lora(rank=2, alpha=4.0)
    plain = copy.deepcopy(tower)
    teacher = Teacher(tower, precision, 0.5)
    add_lora(tower, lora)
    tower.to(precision)
    shift(tower, 0.25)
    made = trained_weights(tower, lora)
    teacher.follow(tower, lora)
    for name, value in teacher.average.items():
        original = plain.get_parameter(name).detach()
        torch.testing.assert_close(value, 0.5 * (original + made[name]) if name in made else original)
        assert torch.equal(teacher.model.get_parameter(name), value.to(precision))
    assert any((made[name] - plain.get_parameter(name)).abs().max() > 0.1 for name in made)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_restored_teacher_is_the_saved_one(tower, precision):
    one, other = Teacher(tower, precision, 0.5), Teacher(tower, precision, 0.5)
    shift(tower, 0.3)
    one.follow(tower)
    assert not torch.equal(one.features(pixels()), other.features(pixels()))
    other.load_state({name: value.clone() for name, value in one.state().items()})
    assert torch.equal(one.features(pixels()), other.features(pixels()))
    for teacher in (one, other):
        teacher.follow(tower)
    assert all(torch.equal(value, other.average[name]) for name, value in one.average.items())

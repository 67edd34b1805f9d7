"""Stage 2 under DeepSpeed on two ranks: its teacher, and a save and resume in the middle.

The launch is that of ``tests/trainer/engines.py``.
"""

import pytest


@pytest.fixture(params=["stage2-0-fp32", "stage2-1-bf16", "stage2-2-bf16"])
def found(request, engines):
    return engines[request.param] | {"precision": request.param[-4:]}


def test_deepspeed_leaves_the_teacher_alone(found):
    assert found["average_dtypes"] == ["torch.float32"]
    assert found["student_dtypes"] == ["torch.float32" if found["precision"] == "fp32" else "torch.bfloat16"]
    assert found["teacher_dtypes"] == found["student_dtypes"]
    assert found["teacher_shows_average"]


def test_the_teacher_is_the_average_of_itself_and_the_student_on_every_rank(found):
    assert found["student_moved"] > 0.005
    assert found["distance_from_average"] < 1e-8
    assert found["teacher_equal_on_ranks"]


def test_a_resumed_stage_2_goes_on_bit_for_bit(found):
    assert found["resumed_step"] == 1
    assert found["losses_after_resuming"] == found["losses"]
    assert len(set(found["losses"])) == 2
    assert found["same_teacher"]
    assert found["same_state"]


def test_a_locked_tower_stays_out_of_the_checkpoint(engines):
    """Under bfloat16 the module's copy of it is rounded; the CLIP that the stage was built from is not."""
    found = engines["locked"]
    assert found["saved"] == found["trained"]
    assert "logit_scale" in found["saved"]
    assert all(name == "logit_scale" or name.startswith("adapter.") for name in found["saved"])
    assert found["losses_after_resuming"] == found["losses"]

"""Master weights under DeepSpeed on two ranks, launched as a user launches it: every ZeRO stage, both precisions.

One launch builds all engines (see ``tests/trainer/engines.py``); the tests look at what it found.
"""

import pytest

from tests.trainer.engines import TOP

ROUNDED_TOP = 4.59375  # the bfloat16 next to 4.605


@pytest.fixture(params=["0-fp32", "0-bf16", "1-fp32", "1-bf16", "2-fp32", "2-bf16"])
def found(request, engines):
    return engines[request.param] | {"fp32": request.param.endswith("fp32"), "zero_stage": int(request.param[0])}


def test_two_ranks_took_part(engines):
    assert engines["ranks"] == 2


def test_the_clamp_lasts_over_steps_that_push_outwards(found):
    """Six steps of +0.1 from 4.55."""
    assert found["temperatures"] == [pytest.approx(TOP if found["fp32"] else ROUNDED_TOP)] * 6
    assert found["temperature_master"] == pytest.approx(TOP)


def test_clamping_the_modules_parameter_alone_does_not_last(found):
    """Except where it is the master weight: float32 without ZeRO."""
    if found["fp32"] and found["zero_stage"] == 0:
        assert found["temperature_master_clamped_in_the_module"] == pytest.approx(TOP)
    else:
        assert found["temperature_master_clamped_in_the_module"] == pytest.approx(4.55 + 6 * 0.1, abs=0.02)


def test_training_starts_from_the_float32_weights_that_the_module_had(found):
    assert found["distance_at_start"] == 0.0


def test_three_steps_of_two_ranks_are_those_of_plain_adamw_on_the_whole_batch(found):
    assert found["moved"] > 0.25
    assert found["distance_from_plain_adamw"] < (1e-6 if found["fp32"] else 5e-3)
    assert found["adam_step"] == 3


def test_every_rank_sees_the_whole_state(found):
    assert found["equal_on_ranks"]


def test_a_restored_state_is_the_saved_one_and_continues_bit_for_bit(found):
    assert found["restored_equals_saved"]
    assert found["losses_after_restoring"] == found["losses"]
    assert len(set(found["losses"])) == 3
    assert found["ended_equally"]
    assert found["module_shows_master"]


def test_the_learning_rate_of_the_groups_is_the_one_that_is_used(found):
    assert found["moved_at_learning_rate_0"] == 0.0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_state_of_zero_2_goes_on_without_zero(engines, precision):
    found = engines[f"2-on-0-{precision}"]
    assert found["restored_equals_saved"]
    assert found["distance_after_3_steps"] < 1e-6


@pytest.mark.parametrize("zero_stage", [0, 1, 2])
def test_accumulated_micro_batches_are_one_batch(engines, zero_stage):
    assert engines[f"accumulated-{zero_stage}"]["distance_from_whole_batches"] < 1e-6

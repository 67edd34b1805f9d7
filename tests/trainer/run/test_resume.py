"""Stage 2 under DeepSpeed on two ranks: its teacher, and a save and resume in the middle.

The launch is that of ``tests/trainer/engines.py``.
"""

from pathlib import Path

import numpy as np
import pytest

from store.common.errors import ConfigError
from store.common.settings import build
from tests.trainer.conftest import KEYS
from trainer.data.order import Source, describe, key_digests
from trainer.run.resume import require_same_data
from trainer.stage1 import Stage1, Stage1Config


@pytest.fixture(params=["stage2-0-fp32", "stage2-1-bf16", "stage2-2-bf16", "stage2-1-fp16"])
def found(request, engines):
    if request.param not in engines:
        pytest.skip("this processor has no fp16")
    return engines[request.param] | {"precision": request.param[-4:]}


def test_deepspeed_leaves_the_teacher_alone(found):
    assert found["average_dtypes"] == ["torch.float32"]
    assert found["student_dtypes"] == [
        {"fp32": "torch.float32", "bf16": "torch.bfloat16", "fp16": "torch.float16"}[found["precision"]]
    ]
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


def test_loras_matrices_learn_at_their_layers_rates_and_the_rest_at_the_whole(engines):
    """Two blocks, decay 0.5, rate 0.01: a quarter and a half of it in the blocks."""
    assert engines["lora"]["rates"] == [0.0025, 0.005, 0.01]


def test_a_checkpoint_of_lora_holds_its_matrices_and_how_to_merge_them(engines):
    image = [name for name in engines["lora"]["saved"] if name.startswith("image.")]
    assert len(image) == 2 * 6 * 2
    assert all("lora_A" in name or "lora_B" in name for name in image)
    assert engines["lora"]["described"] == {"rank": 2, "alpha": 2.0, "targets": None}


def test_a_resumed_lora_goes_on_bit_for_bit(engines):
    found = engines["lora"]
    assert found["losses_after_resuming"] == found["losses"]
    assert len(set(found["losses"])) == 2
    assert found["same_state"]
    assert found["same_teacher"]


def test_the_temperature_that_is_used_is_the_master_weight_not_the_rounded_parameter(engines):
    found = engines["lora"]
    assert found["temperatures"] == [found["temperature_master"]] * 2
    assert found["temperature_rounded"] != found["temperature_master"]
    assert found["temperature_rounded"] == pytest.approx(found["temperature_master"], abs=0.01)


@pytest.fixture(params=[1, 2])
def fp16(request, engines):
    if "fp16-1" not in engines:
        pytest.skip("this processor has no fp16")
    return engines[f"fp16-{request.param}"] | {"diverging": engines[f"diverging-{request.param}"]}


def test_a_step_that_overflows_on_one_rank_changes_nothing_but_the_scale(fp16):
    assert fp16["applied"] == [[True, True], [False] * 3, [True, True]]
    assert fp16["skipped_steps"] == 3
    assert fp16["skipped_steps_left_the_weights_alone"]
    assert fp16["adam_steps"] == [2, 4]
    assert fp16["scale"] == 256  # of 1024; the first overflow is forgiven, each further one halves


def test_a_restored_loss_scale_goes_on_as_it_would_have(fp16):
    assert fp16["scaling_after_restoring"] == fp16["scaling"]
    assert fp16["losses_after_restoring"] == fp16["losses"]
    assert fp16["ended_equally"]


def test_a_gradient_that_overflows_unscaled_ends_the_run(fp16):
    assert fp16["diverging"][0] == "False"  # from 2 to 1
    assert fp16["diverging"][1].startswith("the gradient overflows in fp16 even unscaled")


def require_data(there: dict, here: dict) -> None:
    require_same_data(there, {"keys": {}, **here}, Path("step-00000500"))


def test_a_run_does_not_go_on_with_more_or_fewer_samples_than_it_began_with():
    """Neither more vectors under ``--missing skip`` nor another shard may move the samples of the steps to come."""
    began = describe([Source("cc3m", [3, 4], left_out={"without a vector": 1}), Source("own", [5])])
    require_data({"datasets": began}, {"datasets": describe([Source("cc3m", [7]), Source("own", [5])])})
    grown = describe([Source("cc3m", [3, 5]), Source("own", [5])])
    expected = "dataset 'cc3m' had 7 samples when 'step-00000500' was written and has 8 now"
    with pytest.raises(ConfigError, match=expected):
        require_data({"datasets": began}, {"datasets": grown})
    require_data({"datasets": None}, {"datasets": grown})


def test_a_run_does_not_go_on_with_as_many_but_other_samples(store_path):
    """Keys are compared by a digest in their order; a checkpoint of an earlier version, which has none, goes on."""

    def digests(keys: list[str]) -> dict[str, str]:
        return key_digests([Source("cc3m", [len(keys)], keys=np.array([key.encode() for key in keys]))])

    began = digests(["a", "b", "c"])
    require_data({"keys": began}, {"keys": digests(["a", "b", "c"])})
    require_data({"keys": None}, {"keys": began})
    for other in (["a", "b", "d"], ["b", "a", "c"], ["ab", "c", ""]):
        with pytest.raises(ConfigError, match="dataset 'cc3m' has other samples, or the same in another order, than"):
            require_data({"keys": began}, {"keys": digests(other)})
    config = build(
        Stage1Config,
        {"output": Path("run"), "store": store_path, "fields": ("llm/short",), "teacher_fields": ("clip/short",)},
    )
    assert key_digests(Stage1(config).data.sources) == {"captions": digests(KEYS)["cc3m"]}

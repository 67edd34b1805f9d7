"""``keyclip bench train``: real steps of both stages alternating, and verdicts on their bars."""

import json

import pytest
import torch

from store.common.errors import ConfigError
from tests.processes import run
from tools.bench.clip_shapes import CONTEXT_LENGTH, joint_width, save_clip
from tools.bench.train import Config, bars, report
from trainer.model.text_teacher import TextTeacher
from trainer.model.towers import load_image_tower


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_the_command_measures_both_stages(tmp_path):
    """In a process of its own, since DeepSpeed leaves settings behind."""
    shapes = ["--stage1-shape", "tiny", "--stage2-shape", "tiny", "--dim", "24", "--picture-size", "48"]
    sizes = ["--stage1-batch", "8", "--stage2-batch", "8", "--steps", "1", "--rounds", "2"]
    more = ["--threads", "1", "--workers", "0", "--peak-tflops", "2", "--json", "True", "--folder", str(tmp_path)]
    done = run(["-m", "tools", "bench", "train", *shapes, *sizes, *more])
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout[done.stdout.index("{\n") :])
    stored, online = result["stage1"]["contenders"]
    assert (stored["name"], online["name"]) == ("store", "online")
    # adapter: 2 x 8 captions through 4 x (24 -> 48 -> 24) -> 16, forward, weights' gradient, inputs' gradient
    products = 16 * (4 * (24 * 48 + 48 * 24) + 24 * 16)
    assert stored["tflop_per_step"] * 1e12 == pytest.approx(3 * 2 * products, rel=0.05)
    assert online["tflop_per_step"] > 2 * stored["tflop_per_step"]
    for row in (stored, online, result["stage2"]):
        assert 0 <= row["wait_share"] <= 1
        assert row["samples_per_second"] == pytest.approx(8 * 1000 / row["step_ms"])
        assert row["share_of_peak"] == pytest.approx(row["tflops_per_second"] / 2)
    assert result["stage2"]["loader_is_faster_by"] > 0
    assert "stage 1, online (tiny text)" in report(result)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize("part", ["text", "image"])
def test_a_clip_of_a_shape_loads_as_any_clip(tmp_path, part):
    folder = save_clip(tmp_path / part, "tiny", part, ["a red cube", "two dogs run"])
    if part == "text":
        teacher = TextTeacher(folder, torch.float32)
        ids, mask = teacher.tokens(["a red cube " * 50])
        assert ids.shape == (1, CONTEXT_LENGTH)
        assert teacher.features(ids, mask).shape == (1, joint_width("tiny"))
    else:
        tower = load_image_tower(folder)
        assert tower.model(torch.zeros(1, 3, 32, 32)).shape == (1, joint_width("tiny"))


def row(name: str, **changes: object) -> dict[str, object]:
    figures = {
        "batch_size": 32,
        "workers": 1,
        "samples_per_second": 12.3,
        "step_ms": 2600.0,
        "wait_share": 0.01,
        "tflop_per_step": 1.5,
        "tflops_per_second": 0.6,
        "share_of_peak": None,
    }
    return {"name": name, **figures, **changes}


def test_bars_judge_the_speed_up_and_the_wait():
    result = {
        "device": "NVIDIA H100",
        "precision": "bf16",
        "load": 0.5,
        "dim": 1024,
        "num_blocks": 4,
        "expansion": 2,
        "stage1": {
            "shape": "ViT-L/14",
            "speed_up": 9.0,
            "contenders": [row("store", share_of_peak=0.42), row("online")],
        },
        "stage2": row("stage 2", shape="ViT-B/32", loader_is_faster_by=55.5),
    }
    assert [(bar.what, bar.met) for bar in bars(result)] == [
        ("stage 1, samples/s, store / online", False),
        ("stage 2, wait for data", True),
    ]
    text = report(result)
    assert "stage 1, store (ViT-L/14 text)" in text
    assert "42 %" in text
    assert "adapter of 4 blocks, expansion 2" in text
    assert "55.5 times as fast" in text


def test_a_wrong_number_is_refused():
    with pytest.raises(ConfigError, match="--stage1-batch must be at least 1, not 0"):
        Config(stage1_batch=0)

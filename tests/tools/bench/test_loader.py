"""``keyclip bench loader``: all contenders load pairs that belong together, and the bars are judged rightly."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import store
from store.common.errors import ConfigError
from store.sources.shards import iter_samples
from tools.__main__ import main
from tools.bench.batch_readers import CONTENDERS, Loading
from tools.bench.loader import Config, bars, prepare, report
from tools.bench.pairs import FIELDS, make_samples
from trainer.images.transform import ImageTransform

SMALL = {"num_samples": 60, "dim": 24, "picture_size": 64, "image_size": 32, "batch_size": 6, "workers": 0}


@pytest.fixture(scope="module")
def loading(tmp_path_factory) -> Loading:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("loader")
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        return prepare(Config(**SMALL), folder)


def test_made_samples_are_captioned_pictures_with_the_vectors_of_their_captions(tmp_path):
    made = make_samples(tmp_path, 7, 12, 48, teacher_dim=5)
    (shard,) = made.shards
    samples = dict(iter_samples(shard, ["jpg", "json"]))
    assert list(samples) == [f"{number:09d}" for number in range(7)]
    fields = store.open(made.store)
    for name in ("llm/shortSV_captions", "clip/longSV_captions"):
        field = fields.field(name)
        captions = [json.loads(members["json"])[name.split("/")[1]] for members in samples.values()]
        assert len(set(captions)) == 7
        assert field.caption_hashes(list(samples)).tolist() == store.caption_hashes(captions).tolist()
    assert (fields.fields()["llm/longSV_captions"].dim, fields.fields()["clip/longSV_captions"].dim) == (12, 5)


@pytest.mark.parametrize("name", CONTENDERS)
def test_every_contender_loads_images_with_the_vectors_of_their_keys(loading, name):
    batch = next(CONTENDERS[name](loading))
    size = loading.pairs.transform.size
    assert batch["image"].shape == (6, 3, size, size)
    assert batch["image"].dtype == (torch.float32 if name == "sidecar, Pillow" else torch.uint8)
    if name == "decode only":
        joined = next(CONTENDERS["keyclip"](loading))
        assert torch.equal(batch["image"], joined["image"])
        assert "caption" not in batch
        return
    opened = store.open(loading.pairs.join.path)
    known = np.stack([opened.field(field).get([f"{n:09d}" for n in range(60)], dtype="float32") for field in FIELDS])
    for row, vector in enumerate(batch["caption"].float().numpy()):
        (found,) = {number for number in range(60) if (known[:, number] == vector).all(axis=1).any()}
        assert name == "keyclip" or found == row  # tars are read from the start on


def test_a_sidecar_that_lost_a_sample_is_noticed(loading, tmp_path):
    other = make_samples(tmp_path, 3, 24, 48)
    broken = replace(loading, sidecars=[(other.shards[0], loading.sidecars[0][1])])
    with pytest.raises(ValueError, match="argument 2 is longer"):
        next(CONTENDERS["tar sidecar"](broken))


def test_the_published_image_is_keyclips_within_the_crop(loading, monkeypatch):
    """With crops that are nearly the whole image, both ways of preparing it show the same picture.

    Their numbers differ at edges, since the published way resizes after another crop; another picture differs by 1.
    """
    transform = ImageTransform(size=32, min_scale=0.999)
    monkeypatch.setattr(loading.pairs, "transform", transform)
    ours = transform.normalize(next(CONTENDERS["tar sidecar"](loading))["image"])
    theirs = next(CONTENDERS["sidecar, Pillow"](loading))["image"]
    assert (ours - theirs).abs().mean() < 0.25
    assert (ours - theirs.flip(0)).abs().mean() > 0.5


def test_the_command_measures_everything(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    flags = [part for name, value in SMALL.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    more = ["--rounds", "1", "--batches", "2", "--steps", "20", "--json", "True"]
    assert main(["bench", "loader", *flags, *more, "--folder", str(tmp_path)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in result["contenders"]] == list(CONTENDERS)
    assert all(each["samples_per_second"] > 0 for each in result["contenders"])
    assert result["memory"]["steps"] == list(range(1, 21))
    assert min(result["memory"]["private_megabytes"]) > 10
    assert "decode only" in report(result)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_shards_and_store_can_be_given(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = make_samples(tmp_path, 12, 8, 48)
    flags = ["--shards", made.shards[0], "--store", str(made.store), "--fields", FIELDS[1], "--batch-size", "4"]
    more = ["--rounds", "1", "--batches", "1", "--workers", "0", "--image-size", "32", "--json", "True"]
    assert main(["bench", "loader", *flags, *more]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["samples"], result["dim"]) == (12, 8)


FIGURES = {
    "samples": 100,
    "batch_size": 10,
    "workers": 2,
    "dim": 4096,
    "image_size": 224,
    "load": 0.5,
    "contenders": [
        {
            "name": name,
            "samples_per_second": 1000 / ratio,
            "cpu_ms_per_sample": ratio,
            "keyclip_is_faster_by": ratio,
            "keyclip_takes_less_cpu_by": ratio,
        }
        for name, ratio in (
            ("keyclip", 1), ("packed tars", 1.2), ("tar sidecar", 0.99), ("sidecar, Pillow", 3), ("decode only", 0.95)
        )
    ],
    "memory": {
        "steps": [10, 20],
        "private_megabytes": [50.0, 50.1],
        "with_shared_megabytes": [80.0, 90.0],
        "megabytes_per_1000_steps": 10.0,
    },
}  # fmt: skip


def test_bars_compare_with_both_packed_layouts_and_the_limit():
    judged = {bar.what: bar.met for bar in bars(FIGURES)}
    assert judged == {
        "samples/s, keyclip / packed tars": True,
        "samples/s, keyclip / tar sidecar": False,
        "samples/s, keyclip / decode only": True,
        "memory per 1,000 steps": False,
    }
    text = report(FIGURES)
    assert text.count("MISSED") == 2
    assert "20 steps        50.1        90.0" in text
    assert "memory" not in report(FIGURES | {"memory": None}).lower()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rounds": 0}, "--rounds must be at least 1, not 0"),
        ({"shards": ("a.tar",)}, "--shards and --store belong together"),
        ({"num_samples": 1000, "workers": 2}, "--num-samples 1000 is too few"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Config(**settings)

"""Stage 1 with CLIP's text tower run at every step: the same loss as from a teacher field, from json members alone."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import store
from embedder.run.config import EmbedConfig
from embedder.run.embed import embed
from store.common.errors import ConfigError, MissingKeysError, StaleCaptionError
from store.common.settings import build
from tests.trainer.conftest import KEYS
from tests.trainer.examples import CAPTION_DIM, JOINT_DIM, add_field, captions_of, write_shard, write_tar
from trainer.model.identity import require_teacher
from trainer.stage1 import Stage1, Stage1Config

FIELDS = ("llm/short", "llm/long")


@pytest.fixture(scope="module")
def both(shards, clip_folder, tmp_path_factory) -> Path:
    """A store with vectors of :data:`KEYS` and CLIP's own text features of the shards' captions, really embedded."""
    path = tmp_path_factory.mktemp("online") / "s.store"
    store.create(path)
    for name in FIELDS:
        add_field(path, name, KEYS, CAPTION_DIM)
    settings: dict[str, Any] = {"model": str(clip_folder), "shards": tuple(shards), "caption_fields": ("short", "long")}
    embed(EmbedConfig(**settings, store=str(path), field_prefix="clip", dtype="float32", progress=False, device="cpu"))
    return path


def online(shards, clip_folder, path: Path, **settings) -> Stage1:
    torch.manual_seed(0)
    named = {"shards": tuple(shards), "clip": str(clip_folder), **settings}
    named |= {"output": Path("run"), "batch_size": 4, "store": path, "fields": FIELDS, "teacher": "online"}
    return Stage1(build(Stage1Config, named))


def load(stage: Stage1, samples: list[int]) -> dict[str, Any]:
    return stage.data.load(np.array(samples), 0, np.arange(len(samples)))


def test_the_loss_is_that_of_the_stored_teacher_field(both, shards, clip_folder):
    torch.manual_seed(0)
    stored = Stage1(
        build(
            Stage1Config,
            {
                "output": Path("run"),
                "batch_size": 4,
                "store": both,
                "fields": FIELDS,
                "teacher_fields": ("clip/short", "clip/long"),
            },
        )
    )
    computed = online(shards, clip_folder, both)
    rows = [5, 0, 23, 11, 2]
    loss, report = stored.module(load(stored, rows))
    other, other_report = computed.module(load(computed, rows))
    assert other.item() == pytest.approx(loss.item(), rel=1e-5)
    for name, value in report.items():
        assert other_report[name].item() == pytest.approx(value.item(), rel=1e-4), name
    loss.backward()
    other.backward()
    for one, two in zip(stored.module.parameters(), computed.module.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-6)


def test_the_checkpoint_tells_the_same_adapter_and_a_teacher_that_is_this_clip(both, shards, clip_folder):
    stage = online(shards, clip_folder, both)
    assert stage.info["adapter"] == {"dim_in": CAPTION_DIM, "dim_out": JOINT_DIM, "num_blocks": 4, "expansion": 2}
    spec = store.open(both).field("clip/short").spec
    for name in ("revision", "template", "pooling"):
        assert stage.info["teacher"][name] == getattr(spec, name)
    require_teacher(str(clip_folder), stage.info["teacher"], "the adapter")


def test_the_text_tower_is_no_part_of_the_module_that_is_trained(both, shards, clip_folder):
    stage = online(shards, clip_folder, both)
    assert {name.split(".")[0] for name, _ in stage.module.named_parameters()} == {"adapter"}
    assert not any(parameter.requires_grad for parameter in stage.teacher.model.parameters())


def test_only_json_members_are_read(both, shards, clip_folder, monkeypatch):
    stage = online(shards, clip_folder, both)
    read = []
    real = os.pread

    def pread(file: int, size: int, offset: int) -> bytes:
        read.append(real(file, size, offset))
        return read[-1]

    monkeypatch.setattr(os, "pread", pread)
    load(stage, [5, 0])
    monkeypatch.undo()
    assert {payload for payload in read if payload.startswith(b"{")} == {
        json.dumps(captions_of(key)).encode() for key in (KEYS[5], KEYS[0])
    }
    assert not [payload for payload in read if payload.startswith(b"\xff\xd8")]


def test_special_tokens_in_a_caption_are_plain_text(both, shards, clip_folder):
    teacher = online(shards, clip_folder, both).teacher
    ids, mask = teacher.tokens(["a<|endoftext|>b", "  a  ", "red " * 200])
    end = teacher.tokenizer.eos_token_id
    assert (ids[0][mask[0].bool()] == end).sum() == 1
    assert ids.shape == (3, 77)
    assert ids[1][: mask[1].sum()].tolist() == teacher.tokens(["a"])[0][0].tolist()
    assert ids[2, -1] == end


def test_a_sample_without_a_vector_is_refused_or_left_out_and_counted(both, shards, clip_folder, tmp_path):
    more = [*shards, write_shard(tmp_path / "more.tar", ["other1", "other2"])]
    with pytest.raises(MissingKeysError, match="2 of 26 "):
        online(more, clip_folder, both)
    (source,) = online(more, clip_folder, both, missing="skip").data.sources
    assert source.num_samples == 24
    assert source.left_out["without a vector"] == 2


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ({"short": "another caption"}, StaleCaptionError, f"the caption of sample '{KEYS[0]}' is not the one"),
        ({"short": None}, ConfigError, f"sample '{KEYS[0]}' of shard .* has no caption 'short', but a vector"),
    ],
    ids=["changed", "gone"],
)  # fmt: skip
def test_a_caption_that_is_not_the_embedded_one_is_refused(both, clip_folder, tmp_path, content, error, message):
    members = [(f"{KEYS[0]}.jpg", b"never read"), (f"{KEYS[0]}.json", json.dumps(content).encode())]
    stage = online([write_tar(tmp_path / "a.tar", members)], clip_folder, both)
    with pytest.raises(error, match=message):
        load(stage, [0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip": None}, "--teacher online needs a CLIP"),
        ({"shards": ()}, "does not fit --teacher online, which takes captions from shards"),
        ({"teacher_fields": ("clip/short", "clip/long")}, "does not fit --teacher online"),
        ({"clip": "no such folder"}, "no CLIP can be loaded from 'no such folder'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(both, shards, clip_folder, settings, message):
    with pytest.raises(ConfigError, match=message):
        online(settings.pop("shards", shards), clip_folder, both, **settings)

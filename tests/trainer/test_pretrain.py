"""The small CLIP that stands in for pretrained weights: its tokenizer, its data, and the folder that it ends in."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
import transformers

from store.common.errors import ConfigError
from store.common.settings import build
from tests.trainer.examples import encoded, picture, sample_members, write_shard, write_tar
from trainer.model.towers import load_image_tower
from trainer.objectives.losses import INITIAL_LOGIT_SCALE, contrastive
from trainer.pretrain import Pretrain, PretrainConfig

KEYS = [f"{i:03d}" for i in range(6)]


@pytest.fixture(scope="module", autouse=True)
def one_rank(tmp_path_factory):
    meeting = tmp_path_factory.mktemp("ranks") / "meeting"
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def make_config(folder: Path, **settings) -> PretrainConfig:
    shards = settings.pop("shards", None) or (write_shard(folder / "a.tar", KEYS),)
    values = {
        "output": folder / "run", "shards": shards, "caption_fields": ("short", "long"), "batch_size": 4,
        "image_size": 32, "patch_size": 16, "width": 64, "image_layers": 1, "text_layers": 1, "joint_dim": 8,
        "vocabulary": 300,
    }  # fmt: skip
    (folder / "run").mkdir(exist_ok=True)
    return build(PretrainConfig, values | settings)


def make_stage(folder: Path, **settings) -> Pretrain:
    torch.manual_seed(0)
    return Pretrain(make_config(folder, **settings))


def load(stage: Pretrain, samples, epoch=0, places=None):
    return stage.data.load(np.array(samples), epoch, np.array(samples if places is None else places))


def texts_of(stage: Pretrain, batch) -> list[str]:
    return [stage.tokenizer.decode(row, skip_special_tokens=True).strip() for row in batch["tokens"]]


def test_the_tokenizer_learns_the_captions_and_wraps_them_as_clip_does(tmp_path):
    tokenizer = make_stage(tmp_path, vocabulary=400).tokenizer
    ids = tokenizer("A much LONGER caption").input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == "a much longer caption"
    assert len(tokenizer) <= 400
    assert len(tokenizer("caption").input_ids) < 2 + len("caption")  # pieces were learnt, not bytes alone


def test_a_caption_beyond_77_tokens_is_cut_and_still_ends(tmp_path):
    members = [member for key in KEYS for member in sample_members(key, {"short": "word " * 200})]
    stage = make_stage(tmp_path, shards=(write_tar(tmp_path / "long.tar", members),), caption_fields=("short",))
    tokens = load(stage, [0, 1])["tokens"]
    assert tokens.shape == (2, 77)
    assert (tokens[:, -1] == stage.tokenizer.eos_token_id).all()


def test_a_run_that_goes_on_keeps_its_tokenizer(tmp_path):
    first = make_stage(tmp_path).tokenizer
    again = Pretrain(make_config(tmp_path, shards=(write_shard(tmp_path / "b.tar", ["other"]),))).tokenizer
    assert again.get_vocab() == first.get_vocab()


def test_a_batch_holds_images_and_padded_tokens(tmp_path):
    stage = make_stage(tmp_path)
    batch = load(stage, [0, 1, 2, 3, 4, 5])
    assert batch["image"].shape == (6, 3, 32, 32)
    assert batch["tokens"].shape == batch["mask"].shape
    for text, key in zip(texts_of(stage, batch), KEYS, strict=True):
        assert text in (f"short caption of {key}", f"a much longer caption of {key}")
    lengths = batch["mask"].sum(dim=1)
    assert (batch["tokens"].gather(1, lengths[:, None] - 1) == stage.tokenizer.eos_token_id).all()


def test_captions_and_crops_depend_on_seed_epoch_and_place_alone(tmp_path):
    stage = make_stage(tmp_path)
    one, other = load(stage, [3, 4], 1, [10, 11]), load(stage, [4, 3], 1, [11, 10])
    assert texts_of(stage, one) == texts_of(stage, other)[::-1]
    assert torch.equal(one["image"], other["image"].flip(0))
    drawn = {tuple(texts_of(stage, load(stage, [0] * 12, epoch, range(12)))) for epoch in range(4)}
    assert len(drawn) == 4


def test_a_field_that_is_null_is_passed_over_and_a_sample_without_any_caption_named(tmp_path):
    members = [
        ("a.jpg", encoded(picture())), ("a.json", b'{"short": null, "long": "the only one"}'),
        ("b.jpg", encoded(picture())), ("b.json", b'{"short": null, "long": " "}'),
    ]  # fmt: skip
    stage = make_stage(tmp_path, shards=(write_tar(tmp_path / "a.tar", members),), batch_size=1)
    assert set(texts_of(stage, load(stage, [0] * 8, 0, range(8)))) == {"the only one"}
    with pytest.raises(ConfigError, match=r"sample 'b' of shard .* has no caption in short, long"):
        load(stage, [1])


def test_the_folder_it_ends_in_is_the_clip_that_was_trained(tmp_path):
    stage = make_stage(tmp_path)
    with torch.no_grad():
        for parameter in stage.module.parameters():
            parameter += 0.01
    stage.finish({name: value.clone() for name, value in stage.module.state_dict().items()})
    folder = tmp_path / "run" / "clip"
    clip = transformers.CLIPModel.from_pretrained(folder).eval()
    assert clip.logit_scale.item() == pytest.approx(INITIAL_LOGIT_SCALE + 0.01)
    batch = load(stage, [0, 1, 2])
    with torch.no_grad():
        pixels = stage.data.transform.normalize(batch["image"])
        vision = clip.vision_model(pixel_values=pixels).pooler_output
        text = clip.text_model(input_ids=batch["tokens"], attention_mask=batch["mask"]).pooler_output
        image_BE = F.normalize(clip.visual_projection(vision), dim=-1)
        text_BE = F.normalize(clip.text_projection(text), dim=-1)
        loss, report = stage.module.eval()(batch)
        assert loss.item() == pytest.approx(
            contrastive(image_BE, text_BE, stage.objective.logit_scale).item(), rel=1e-5
        )
        tower = load_image_tower(str(folder))
        torch.testing.assert_close(tower.model.normalized(pixels), image_BE)
    assert (tower.dim, tower.transform.size) == (8, 32)
    assert report["temperature"].item() == pytest.approx(0.07 * np.exp(-0.01), rel=1e-4)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer("short caption").input_ids == stage.tokenizer("short caption").input_ids
    assert not list((tmp_path / "run").glob(".clip*"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch_size": 12}, "image_size is 32; expected a multiple of patch_size"),
        ({"width": 100}, "width is 100; expected a multiple of 64"),
        ({"vocabulary": 200}, "vocabulary is 200; expected at least 300"),
        ({"caption_fields": ()}, "caption_fields is .*; expected at least one path"),
        ({"min_crop": 0.0}, r"min_crop is 0\.0; expected above 0 and at most 1"),
    ],
)
def test_settings_that_make_no_clip_are_refused(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        make_config(tmp_path, **settings)

"""Stage 2's batches: images and caption vectors of one key, drawn by seed, epoch and place."""

import numpy as np
import pytest
import torch

from store.common.errors import ConfigError, MissingKeysError, StaleCaptionError
from store.common.settings import build
from tests.trainer.conftest import KEYS
from tests.trainer.examples import (
    CAPTION_DIM,
    captions_of,
    encoded,
    make_store,
    picture,
    sample_members,
    vectors,
    write_shard,
    write_tar,
)  # fmt: skip
from trainer.data.loader import batches, make_plan
from trainer.data.pairs import PairData
from trainer.images.transform import BrokenImageError
from trainer.model.towers import load_image_tower
from trainer.stage2 import Stage2Config

SHORT = vectors("llm/short", 24, CAPTION_DIM)
LONG = vectors("llm/long", 24, CAPTION_DIM)


def make_data(settings: dict, **more) -> PairData:
    config = build(Stage2Config, settings | more)
    return PairData(config.data, load_image_tower(config.clip), config.run.seed)


def load(data: PairData, samples, epoch=0, places=None) -> dict[str, torch.Tensor]:
    return data.load(np.array(samples), epoch, np.arange(len(samples)) if places is None else np.array(places))


def drawn(batch, samples) -> list[int]:
    """Which field each caption vector comes from; fails where it is of another key."""
    found = []
    for row, sample in zip(batch["caption"].numpy(), samples, strict=True):
        (which,) = [i for i, field in enumerate((SHORT, LONG)) if np.array_equal(row, field[sample])]
        found.append(which)
    return found


def test_images_and_caption_vectors_are_those_of_the_same_key(settings):
    data = make_data(settings, min_crop=1.0)
    batch = load(data, [20, 3, 11])
    assert batch["image"].shape == (3, 3, 32, 32)
    assert (batch["image"].dtype, batch["caption"].dtype) == (torch.uint8, torch.float32)
    assert len(drawn(batch, [20, 3, 11])) == 3
    again = load(data, [11], places=[2])
    assert torch.equal(again["image"][0], batch["image"][2])


def test_what_is_drawn_depends_on_seed_epoch_and_place_alone(settings):
    data = make_data(settings)
    one = load(data, [4, 9, 17, 2], epoch=1, places=[10, 11, 12, 13])
    other = load(data, [2, 17], epoch=1, places=[13, 12])  # in another order, in another batch
    assert torch.equal(other["image"], one["image"][[3, 2]])
    assert torch.equal(other["caption"], one["caption"][[3, 2]])
    places = range(40)
    draws = {
        (seed, epoch): tuple(drawn(load(make_data(settings, seed=seed), [4] * 40, epoch, places), [4] * 40))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(set(draws.values())) == 4
    crops = [load(make_data(settings, seed=seed), [4], 0)["image"] for seed in (0, 1)]
    assert not torch.equal(*crops)


@pytest.mark.parametrize(("weights", "share"), [(None, 0.5), ((1.0, 3.0), 0.75), ((2.0, 0.0), 0.0)])
def test_fields_are_drawn_as_often_as_their_weights_say(settings, weights, share):
    data = make_data(settings, field_weights=weights, check_captions=False)
    which = drawn(load(data, [0] * 400, 0, range(400)), [0] * 400)
    assert abs(np.mean(which) - share) < 0.1  # four standard deviations and more


@pytest.mark.parametrize("weights", [(1.0,), (1.0, -1.0), (0.0, 0.0)])
def test_weights_that_make_no_sense_are_refused(settings, weights):
    with pytest.raises(ConfigError, match=r"field_weights .*; expected one number >= 0 per field, not all 0"):
        build(Stage2Config, settings | {"field_weights": weights})


def test_crops_are_as_small_as_the_setting_allows(settings):
    """Whole images at 1, on average a fourth less at 0.5; other crops, other pixels."""
    whole, half = (make_data(settings, min_crop=share, check_captions=False) for share in (1.0, 0.5))
    assert half.parts[0].transform.min_scale == 0.5
    assert len({load(whole, [0], 0, [place])["image"].sum().item() for place in range(8)}) <= 2
    assert len({load(half, [0], 0, [place])["image"].sum().item() for place in range(8)}) == 8


def test_a_sample_without_a_vector_is_refused_or_left_out_and_counted(settings, tmp_path):
    settings |= {"store": make_store(tmp_path / "part", KEYS[:20])}
    with pytest.raises(MissingKeysError, match="4 of 24 keys have no vector in field 'llm/short'"):
        make_data(settings)
    data = make_data(settings, missing="skip")
    (source,) = data.sources
    assert source.shard_sizes == [8, 8, 4]
    assert source.left_out == {"without image": 0, "without a vector": 4}


def test_a_caption_that_changed_since_it_was_embedded_is_refused(settings, tmp_path):
    shard = write_shard(tmp_path / "new.tar", KEYS[:2], captions_of(KEYS[0]))  # the second has the first's captions
    data = make_data(settings, shards=(shard,))
    load(data, [0])
    with pytest.raises(StaleCaptionError, match=f"the caption of sample '{KEYS[1]}' is not the one"):
        load(data, [1])
    load(make_data(settings, shards=(shard,), check_captions=False), [1])


@pytest.mark.parametrize("members", ["no json", "no such field", "null"])
def test_a_caption_that_the_shard_does_not_carry_is_not_checked(settings, tmp_path, members):
    """The captions may have come from a file of their own."""
    image = encoded(picture())
    content = {"no json": b"", "no such field": b'{"url": "x"}', "null": b'{"short": null, "long": ""}'}[members]
    shard = [(f"{KEYS[0]}.jpg", image), (f"{KEYS[0]}.json", content)][: 2 if content else 1]
    data = make_data(settings, shards=(write_tar(tmp_path / "a.tar", shard),))
    assert len(drawn(load(data, [0]), [0])) == 1


@pytest.fixture
def broken_shard(tmp_path) -> str:
    """The second of three samples has an image that cannot be decoded."""
    torn = [(f"{KEYS[1]}.jpg", b"torn"), (f"{KEYS[1]}.json", b"{}")]
    return write_tar(tmp_path / "a.tar", [*sample_members(KEYS[0]), *torn, *sample_members(KEYS[2])])


def test_a_broken_image_is_named(settings, broken_shard):
    data = make_data(settings, shards=(broken_shard,))
    with pytest.raises(BrokenImageError) as caught:
        load(data, [0, 1])
    message = str(caught.value)
    assert message.startswith(f"sample '{KEYS[1]}' of shard '{broken_shard}': image cannot be decoded")
    assert message.endswith("; download it again, or leave it out with --keys, or with --broken skip")


def test_a_broken_image_is_skipped_and_counted_and_changes_nothing_else(settings, broken_shard):
    data = make_data(settings, shards=(broken_shard,), broken="skip")
    batch = load(data, [2, 1, 0])
    assert batch["left_out"] == {"broken image": 1}
    assert batch["image"].shape[0] == len(drawn(batch, [2, 0])) == 2
    whole = load(data, [2, 0], places=[0, 2])
    assert whole["left_out"] == {"broken image": 0}
    assert torch.equal(batch["image"], whole["image"])
    assert torch.equal(batch["caption"], whole["caption"])


def test_a_batch_of_nothing_but_broken_images_is_refused(settings, broken_shard):
    with pytest.raises(BrokenImageError, match=f"all 2 images of a batch are broken, first sample '{KEYS[1]}'"):
        load(make_data(settings, shards=(broken_shard,), broken="skip"), [1, 1])


def test_loader_workers_find_store_and_shards_that_the_parent_has_read(settings):
    """The store and the shards are opened before the workers are forked."""
    data = make_data(settings)
    plan = make_plan(24, 8)
    options = {"seed": 0, "window": 2, "rank": 0, "ranks": 1, "accumulation": 1, "pin_memory": False}
    alone = list(batches(data, plan, range(6), workers=0, **options))
    together = list(batches(data, plan, range(6), workers=2, **options))
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["caption"], other["caption"])

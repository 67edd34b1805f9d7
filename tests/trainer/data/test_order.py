"""The order of samples is a function of seed, epoch and position."""

from itertools import pairwise

import numpy as np
import pytest

from trainer.data.order import Source, describe, epoch_order, generator

SIZES = [3, 5, 0, 2, 7, 4]  # shards begin at samples 0, 3, 8, 8, 10, 17; 21 in all
ALONE = [Source("photos", SIZES)]


def shard_of(sample: int) -> int:
    return int(np.searchsorted(np.cumsum(SIZES), sample, side="right"))


@pytest.mark.parametrize("window", [1, 2, 16])
def test_every_epoch_is_a_permutation_of_all_samples(window):
    for epoch in range(3):
        order = epoch_order(ALONE, seed=0, epoch=epoch, window=window)
        assert order.dtype == np.int64
        assert sorted(order.tolist()) == list(range(21))


def test_the_same_seed_and_epoch_give_the_same_order():
    assert epoch_order(ALONE, 4, 2, 2).tolist() == epoch_order(ALONE, 4, 2, 2).tolist()


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(epoch_order(ALONE, seed, epoch, 2).tolist()) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


@pytest.mark.parametrize(("window", "together"), [(1, 1), (2, 2), (3, 3)])
def test_reads_stay_within_a_window_of_shards(window, together):
    """A shard is finished within its window: the shards that are begun but not finished are at most ``window``."""
    for epoch in range(5):
        shards = [shard_of(sample) for sample in epoch_order(ALONE, 0, epoch, window)]
        first = {shard: shards.index(shard) for shard in set(shards)}
        last = {shard: len(shards) - 1 - shards[::-1].index(shard) for shard in set(shards)}
        open_at_once = [sum(first[s] <= at <= last[s] for s in first) for at in range(len(shards))]
        assert max(open_at_once) <= together


def test_a_window_over_all_shards_mixes_them():
    shards = [shard_of(sample) for sample in epoch_order([Source("a", [50, 50])], 0, 0, 2)]
    assert sum(a != b for a, b in pairwise(shards)) > 10


def test_every_place_is_as_likely_for_every_sample():
    firsts = np.bincount([epoch_order([Source("a", [2, 2])], 0, epoch, 1)[0] for epoch in range(400)], minlength=4)
    assert (abs(firsts - 100) < 40).all()  # four standard deviations and more


def test_no_shards_give_no_samples():
    assert epoch_order([], 0, 0, 2).tolist() == []


def test_streams_are_independent_also_when_they_differ_by_zeros_at_the_end():
    streams = [(), (0,), (1,), (1, 0), (1, 0, 0), (1, 0, 0, 0), (0, 1), (2, 0, 0)]
    assert len({generator(0, *stream).random() for stream in streams}) == len(streams)
    assert generator(3, 1, 2).random() == generator(3, 1, 2).random()
    assert generator(3, 1, 2).random() != generator(4, 1, 2).random()


def in_epochs(source: Source, epochs: int) -> list[list[int]]:
    return [epoch_order([source], 0, epoch, 2).tolist() for epoch in range(epochs)]


def test_at_weight_2_every_epoch_sees_every_sample_twice():
    for order in in_epochs(Source("photos", SIZES, 2.0), 3):
        assert sorted(order) == sorted([*range(21), *range(21)])


def test_at_weight_one_half_two_epochs_see_every_sample_once_each_time_in_other_halves():
    """20 samples: 10 an epoch."""
    epochs = in_epochs(Source("photos", [3, 5, 0, 2, 7, 3], 0.5), 8)
    assert [len(order) for order in epochs] == [10] * 8
    for nth in range(0, 8, 2):
        assert sorted(epochs[nth] + epochs[nth + 1]) == list(range(20))
    assert len({frozenset(order) for order in epochs}) == 8


@pytest.mark.parametrize("weight", [0.3, 0.7, 1.5, 2.4])
def test_at_any_weight_no_sample_is_seen_more_than_once_oftener_than_another(weight):
    source = Source("photos", SIZES, weight)
    assert source.epoch_size == round(21 * weight)
    seen = np.zeros(21, int)
    for order in in_epochs(source, 12):
        assert len(order) == source.epoch_size
        seen += np.bincount(order, minlength=21)
        assert seen.max() - seen.min() <= 1


def test_each_source_is_taken_by_its_own_weight_and_all_are_mixed():
    """The small one is not taken more often because the other is large."""
    sources = [Source("small", [10] * 4, 1.0), Source("large", [10] * 20, 0.5), Source("twice", [5] * 4, 2.0)]
    order = epoch_order(sources, 0, 0, 8)
    number = np.searchsorted([40, 240], order, side="right")
    assert np.bincount(number).tolist() == [40, 100, 40]
    assert sorted(order[number == 0].tolist()) == list(range(40))
    assert len(set(order[number == 1].tolist())) == 100
    assert sum(a != b for a, b in pairwise(number)) > 50


def test_the_same_place_holds_the_same_sample_whatever_was_read_before():
    source = Source("photos", SIZES, 0.4)
    assert epoch_order([source], 3, 7, 2).tolist() == epoch_order([source], 3, 7, 2).tolist()


def test_a_source_without_samples_adds_nothing():
    sources = [Source("none", [0, 0], 0.5), Source("nothing", []), Source("photos", SIZES)]
    assert sorted(epoch_order(sources, 0, 1, 2).tolist()) == list(range(21))


def test_what_a_run_is_told_about_its_sources():
    sources = [Source("cc3m", [4, 6], 2.0, {"without a vector": 3}), Source("cc12m", [30])]
    assert describe(sources) == {
        "cc3m": {"samples": 10, "weight": 2.0, "without a vector": 3},
        "cc12m": {"samples": 30, "weight": 1.0},
    }

"""The order of samples is a function of seed, epoch and position."""

from itertools import pairwise

import numpy as np
import pytest

from trainer.order import epoch_order, generator

SIZES = [3, 5, 0, 2, 7, 4]  # shards begin at samples 0, 3, 8, 8, 10, 17; 21 in all


def shard_of(sample: int) -> int:
    return int(np.searchsorted(np.cumsum(SIZES), sample, side="right"))


@pytest.mark.parametrize("window", [1, 2, 16])
def test_every_epoch_is_a_permutation_of_all_samples(window):
    for epoch in range(3):
        order = epoch_order(SIZES, seed=0, epoch=epoch, window=window)
        assert order.dtype == np.int64
        assert sorted(order.tolist()) == list(range(21))


def test_the_same_seed_and_epoch_give_the_same_order():
    assert epoch_order(SIZES, 4, 2, 2).tolist() == epoch_order(SIZES, 4, 2, 2).tolist()


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(epoch_order(SIZES, seed, epoch, 2).tolist()) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


@pytest.mark.parametrize(("window", "together"), [(1, 1), (2, 2), (3, 3)])
def test_reads_stay_within_a_window_of_shards(window, together):
    """A shard is finished within its window: the shards that are begun but not finished are at most ``window``."""
    for epoch in range(5):
        shards = [shard_of(sample) for sample in epoch_order(SIZES, 0, epoch, window)]
        first = {shard: shards.index(shard) for shard in set(shards)}
        last = {shard: len(shards) - 1 - shards[::-1].index(shard) for shard in set(shards)}
        open_at_once = [sum(first[s] <= at <= last[s] for s in first) for at in range(len(shards))]
        assert max(open_at_once) <= together


def test_a_window_over_all_shards_mixes_them():
    shards = [shard_of(sample) for sample in epoch_order([50, 50], 0, 0, 2)]
    assert sum(a != b for a, b in pairwise(shards)) > 10


def test_every_place_is_as_likely_for_every_sample():
    firsts = np.bincount([epoch_order([2, 2], 0, epoch, 1)[0] for epoch in range(400)], minlength=4)
    assert (abs(firsts - 100) < 40).all()  # four standard deviations and more


def test_no_shards_give_no_samples():
    assert epoch_order([], 0, 0, 2).tolist() == []


def test_streams_are_independent_also_when_they_differ_by_zeros_at_the_end():
    streams = [(), (0,), (1,), (1, 0), (1, 0, 0), (1, 0, 0, 0), (0, 1), (2, 0, 0)]
    assert len({generator(0, *stream).random() for stream in streams}) == len(streams)
    assert generator(3, 1, 2).random() == generator(3, 1, 2).random()
    assert generator(3, 1, 2).random() != generator(4, 1, 2).random()

"""Bootstrap intervals, spread over seeds and paired differences: by hand, by brute force, and by what theory says."""

import math

import numpy as np
import pytest

from trainer.evaluation import uncertainty
from trainer.evaluation.uncertainty import (
    Bootstrap,
    Measured,
    accuracy_replicates,
    difference,
    interval,
    over_seeds,
    rank_replicates,
    share_replicates,
    t95,
)

GROUP = np.repeat(np.arange(40), 5)  # 40 images of 5 captions
RANKS = np.random.default_rng(0).geometric(0.1, len(GROUP))


def drawn_groups(num_groups: int, bootstrap: Bootstrap) -> list[np.ndarray]:
    """The definition: for each resample as many groups as there are, drawn with replacement."""
    random = np.random.default_rng(bootstrap.seed)
    return [random.integers(0, num_groups, num_groups) for _ in range(bootstrap.resamples)]


def test_a_replicate_is_the_measure_of_whole_groups_drawn_again():
    bootstrap = Bootstrap(resamples=50, seed=3)
    replicates = rank_replicates(RANKS, GROUP, 40, bootstrap)
    for i, drawn in enumerate(drawn_groups(40, bootstrap)):
        ranks = np.concatenate([RANKS[group == GROUP] for group in drawn])
        assert replicates["R@1"][i] == pytest.approx((ranks <= 1).mean())
        assert replicates["R@10"][i] == pytest.approx((ranks <= 10).mean())
        assert replicates["mean_rank"][i] == pytest.approx(ranks.mean())
        assert replicates["median_rank"][i] == np.median(ranks)


def test_a_replicate_of_a_share_counts_the_groups_that_were_drawn():
    right = RANKS <= 5
    bootstrap = Bootstrap(resamples=50, seed=3)
    replicates = share_replicates(right, GROUP, 40, bootstrap)
    for replicate, drawn in zip(replicates, drawn_groups(40, bootstrap), strict=True):
        assert replicate == pytest.approx(np.concatenate([right[group == GROUP] for group in drawn]).mean())
    assert len(share_replicates(right, GROUP, 40, Bootstrap(resamples=0))) == 0


@pytest.mark.parametrize("sizes", ["equal", "one large group", "some without a query"])
def test_the_median_is_exact_whatever_the_groups(sizes):
    random = np.random.default_rng(1)
    group = {"equal": np.arange(3000), "one large group": np.r_[np.zeros(900, int), np.arange(300)]}.get(
        sizes, random.integers(0, 100, 500) * 3
    )
    ranks = random.integers(1, 1000, len(group))
    bootstrap = Bootstrap(resamples=30)
    replicates = rank_replicates(ranks, group, 3000, bootstrap)["median_rank"]
    for replicate, drawn in zip(replicates, drawn_groups(3000, bootstrap), strict=True):
        weights = np.bincount(drawn, minlength=3000)[group]
        assert replicate == np.median(np.repeat(ranks, weights))


def test_replicates_do_not_depend_on_how_many_are_computed_at_a_time(monkeypatch):
    whole = rank_replicates(RANKS, GROUP, 40, Bootstrap(resamples=20))
    monkeypatch.setattr(uncertainty, "_CELLS", 100)
    for name, values in rank_replicates(RANKS, GROUP, 40, Bootstrap(resamples=20)).items():
        np.testing.assert_array_equal(values, whole[name])


def test_the_seed_decides_the_draws():
    same = [rank_replicates(RANKS, GROUP, 40, Bootstrap(resamples=9, seed=seed))["R@5"].tolist() for seed in (1, 1, 2)]
    assert same[0] == same[1] != same[2]


def test_a_group_that_no_query_belongs_to_changes_nothing_but_the_noise():
    replicates = rank_replicates(np.array([1, 3]), np.array([4, 4]), 6, Bootstrap(resamples=200))
    finite = replicates["mean_rank"][np.isfinite(replicates["mean_rank"])]
    assert 100 < len(finite) < 160  # a draw misses the only group with queries with chance (5/6)^6 = 33 %
    assert set(finite) == {2.0}
    assert interval(replicates["mean_rank"]) == (2.0, 2.0)


def test_the_interval_of_a_recall_is_as_wide_as_the_binomial_distribution_says():
    """2,000 queries at 25 %: two-sided 95 % is 1.96 sqrt(0.25 0.75 / 2000) = 1.9 points on either side."""
    ranks = np.where(np.arange(2000) < 500, 1, 50)
    low, high = interval(rank_replicates(ranks, np.arange(2000), 2000, Bootstrap(resamples=2000))["R@1"])
    half = 1.96 * math.sqrt(0.25 * 0.75 / 2000)
    assert (0.25 - low, high - 0.25) == (pytest.approx(half, rel=0.1), pytest.approx(half, rel=0.1))


def test_captions_of_one_image_are_not_independent_queries():
    """Five equal captions of each image: as noisy as the images alone, not as five times as many queries."""
    ranks = np.where(np.arange(400) < 100, 1, 50)
    alone = rank_replicates(ranks, np.arange(400), 400, Bootstrap())["R@1"]
    fivefold = rank_replicates(np.repeat(ranks, 5), np.repeat(np.arange(400), 5), 400, Bootstrap())["R@1"]
    np.testing.assert_allclose(fivefold, alone)


def test_accuracy_is_resampled_within_each_class():
    labels, ranks = np.array([2, 0, 0, 2, 0]), np.array([1, 1, 1, 1, 1])
    replicates = accuracy_replicates(ranks, labels, Bootstrap(resamples=5))
    assert all(values.tolist() == [1.0] * 5 for values in replicates.values())
    ranks = np.array([2, 1, 1, 6, 1])  # class 0 all right, class 2 all wrong: no draw within a class changes that
    replicates = accuracy_replicates(ranks, labels, Bootstrap(resamples=5))
    assert replicates["top1"].tolist() == [0.6] * 5
    assert replicates["mean_per_class"].tolist() == [0.5] * 5
    assert set(replicates["top5"].tolist()) <= {0.6, 0.8, 1.0}


def test_the_noise_of_mean_per_class_accuracy_is_that_of_its_classes():
    """Classes of 100 and 25 images at 50 %: variance (0.25 / 100 + 0.25 / 25) / 4."""
    labels = np.repeat([0, 1], [100, 25])
    ranks = np.tile([1, 2], 63)[:125]
    replicates = accuracy_replicates(ranks, labels, Bootstrap(resamples=4000))["mean_per_class"]
    assert replicates.std() == pytest.approx(math.sqrt((0.25 / 100 + 0.25 / 25) / 4), rel=0.1)


def test_an_interval_cuts_the_same_share_off_both_ends():
    assert interval(np.arange(101.0), 0.9) == (pytest.approx(5.0), pytest.approx(95.0))
    with pytest.raises(ValueError, match="at least one replicate"):
        interval(np.array([math.nan]))


def test_seeds_give_a_mean_and_the_deviation_of_a_sample():
    assert over_seeds([1.0, 2.0, 3.0]) == uncertainty.Spread(2.0, 1.0, 3)
    assert over_seeds([4.0]) == uncertainty.Spread(4.0, None, 1)


def measured(ranks, **changes) -> Measured:
    replicates = rank_replicates(ranks, np.arange(len(ranks)), len(ranks), Bootstrap(**changes))["R@1"]
    return Measured(float((ranks <= 1).mean()), replicates)


def test_a_model_does_not_differ_from_itself():
    one = measured(RANKS)
    compared = difference([one], [one])
    assert (compared.value, compared.low, compared.high, compared.within_noise) == (0.0, 0.0, 0.0, True)


def test_a_paired_difference_is_seen_where_the_intervals_of_both_overlap():
    """The better model is right on the same queries and on 10 of 300 others: small, but never the other way round."""
    worse = np.where(np.arange(300) < 150, 1, 9)
    better = np.where(np.arange(300) < 160, 1, 9)
    compared = difference([measured(better)], [measured(worse)])
    assert compared.value == pytest.approx(10 / 300)
    assert compared.low > 0
    assert not compared.within_noise
    low, high = interval(measured(worse).replicates)
    assert low < 160 / 300 < high


def test_a_difference_that_goes_both_ways_is_within_noise():
    ours = np.where(np.arange(300) < 100, 1, 9)
    theirs = np.where((np.arange(300) > 104) & (np.arange(300) < 200), 1, 9)
    compared = difference([measured(ours)], [measured(theirs)])
    assert compared.value > 0
    assert compared.within_noise


def test_several_seeds_add_their_noise_to_that_of_the_queries():
    """Differences per seed 1, 2 and 3 without noise of queries: mean 2, half width t(2) 1 / sqrt(3)."""
    none = np.zeros(10)
    ours = [Measured(value, none) for value in (11.0, 12.0, 13.0)]
    half = 4.303 / math.sqrt(3)
    compared = difference(ours, [Measured(10.0, none)] * 3)
    assert (compared.value, compared.low, compared.high) == (2.0, pytest.approx(2 - half), pytest.approx(2 + half))
    assert difference(ours, [Measured(10.0, none)]) == compared  # one measurement stands against every seed
    noisy = [Measured(value, np.array([-1.0, 1.0] * 50)) for value in (11.0, 12.0, 13.0)]
    wider = difference(noisy, [Measured(10.0, np.zeros(100))])
    assert wider.high - 2 == pytest.approx(math.hypot(half, 1.96))


def test_seeds_are_paired_by_order():
    """Both arms move with the seed in the same way: the difference is the same in each seed."""
    ours = [Measured(value, np.zeros(4)) for value in (5.0, 9.0, 7.0)]
    theirs = [Measured(value - 1, np.zeros(4)) for value in (5.0, 9.0, 7.0)]
    compared = difference(ours, theirs)
    assert (compared.value, compared.low, compared.high) == (1.0, 1.0, 1.0)


def test_arms_that_cannot_be_paired_are_refused():
    one = Measured(1.0, np.zeros(3))
    with pytest.raises(ValueError, match="3 against 2 seeds"):
        difference([one] * 3, [one] * 2)
    with pytest.raises(ValueError, match="0 against 1 seeds"):
        difference([], [one])
    with pytest.raises(ValueError, match="differ in number"):
        difference([one], [Measured(1.0, np.zeros(4))])


def test_students_t_falls_towards_the_normal_value():
    assert (t95(1), t95(2), t95(30), t95(31)) == (12.706, 4.303, 2.042, 1.96)

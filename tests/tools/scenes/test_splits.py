"""Splits hold distinct scenes, and never each other's."""

import itertools

from tools.scenes.splits import SPLITS, THEMES, iter_scenes


def first(split, count, seed=0, theme="any"):
    return list(itertools.islice(iter_scenes(split, seed, THEMES[theme]), count))


def test_no_scene_is_in_two_splits_even_with_other_seeds():
    signatures = [{scene.signature for seed in (0, 1) for scene in first(split, 800, seed)} for split in SPLITS]
    for one, other in itertools.combinations(signatures, 2):
        assert not one & other


def test_no_scene_comes_twice_in_a_split():
    signatures = [scene.signature for scene in first("test", 3000)]
    assert len(set(signatures)) == 3000


def test_the_order_of_scenes_is_fixed_by_the_seed():
    assert first("dev", 20, seed=5) == first("dev", 20, seed=5)
    assert first("dev", 20, seed=5) != first("dev", 20, seed=6)


def test_the_shares_of_the_splits_cover_everything_once():
    shares = [share for _, split_shares in SPLITS.values() for share in split_shares]
    assert sorted(shares) == list(range(10))


def test_a_theme_restricts_backgrounds_and_shapes():
    scenes = first("finetune", 100, theme="weather")
    assert {scene.background for scene in scenes} == {"cloudy sky", "sunset", "night sky"}
    shapes = {group.shape for scene in scenes for group in (scene.main, scene.second, scene.extra) if group}
    assert shapes == {"circle", "star", "crescent", "lightning bolt"}

"""Splits hold distinct scenes, and never each other's."""

import itertools

from tools.scenes.scene import THEMES
from tools.scenes.splits import SPLITS, iter_scenes


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


def test_the_theme_of_what_stage_2_shows_has_things_of_its_topics_only():
    assert all(scene.main.is_shown for scene in first("finetune", 100, theme="shown"))
    assert not all(scene.main.is_shown for scene in first("finetune", 100))

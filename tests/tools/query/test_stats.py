"""Figures of a field, against values worked out by hand."""

import numpy as np
import pytest
from PIL import Image

import store
from store.common.errors import ConfigError
from tests.store.examples import make_spec
from tests.tools.query.test_search import make_field
from tools.query import pieces as reading
from tools.query.histogram import Histogram, save_png
from tools.query.stats import measure


def test_lengths_and_mean_cosine_are_exact(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "PIECE_NUMBERS", 2 * 2)
    field = make_field(
        tmp_path / "s.store", [np.array([[3, 4], [0, 2], [0, 0]], np.float32), np.array([[1, 0]], np.float32)]
    )
    stats = measure(field)
    assert (stats.num_vectors, stats.num_zero) == (4, 1)
    assert (stats.norm_min, stats.norm_mean, stats.norm_max) == (0, 2, 5)
    assert stats.norm_std == pytest.approx(np.sqrt((9 + 0 + 4 + 1) / 4))
    # cosines: (3,4)(0,2) 0.8, (3,4)(1,0) 0.6, (0,2)(1,0) 0
    assert stats.mean_cosine == pytest.approx(1.4 / 3)
    assert sum(stats.norms.counts) == 4
    assert sum(stats.cosines.counts) == 6


def test_a_dimension_is_dead_when_it_never_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "PIECE_NUMBERS", 4)
    rows = np.array([[1, 7, 0, 2], [2, 7, 0, 2], [3, 7, 0, 2.5]], np.float32)
    assert measure(make_field(tmp_path / "s.store", [rows])).dead_dimensions == [1, 2]


def test_one_vector_has_neither_dead_dimensions_nor_a_mean_cosine(tmp_path):
    stats = measure(make_field(tmp_path / "s.store", [np.ones((1, 3), np.float32)]))
    assert (stats.dead_dimensions, stats.mean_cosine, stats.near_duplicates.num_found) == ([], None, 0)


def test_near_duplicates_are_found_across_blocks_and_named(tmp_path):
    random = np.random.default_rng(0)
    first = random.standard_normal((40, 16)).astype(np.float32)
    second = random.standard_normal((40, 16)).astype(np.float32)
    second[7] = 2 * first[3] + 0.001
    near = measure(make_field(tmp_path / "s.store", [first, second]), num_drawn=80).near_duplicates
    assert (near.num_drawn, near.num_found, near.cosine) == (80, 2, 0.98)
    assert {(a, b) for a, b, _ in near.examples} == {("0/3", "1/7"), ("1/7", "0/3")}
    assert all(cosine > 0.999 for _, _, cosine in near.examples)


def test_repeated_captions_are_counted_and_unknown_ones_are_not(tmp_path):
    writer = store.create(tmp_path / "s.store").writer("f", make_spec(dim=2))
    hashes = [*store.caption_hashes(["a", "b", "a", "a"]), store.UNKNOWN_CAPTION, store.UNKNOWN_CAPTION]
    writer.commit("b", list("uvwxyz"), np.ones((6, 2), np.float32), np.array(hashes, np.uint64))
    assert measure(store.open(tmp_path / "s.store").field("f")).num_repeated_captions == 2


def test_the_draw_depends_on_the_seed_alone(tmp_path):
    field = make_field(tmp_path / "s.store", [np.random.default_rng(0).standard_normal((200, 4)).astype(np.float32)])
    first, again, other = (measure(field, num_drawn=20, seed=seed).cosines for seed in (1, 1, 2))
    assert first == again != other
    assert sum(first.counts) == 20 * 19 / 2


def test_an_empty_field_is_refused_in_words(tmp_path):
    with pytest.raises(ConfigError, match="field 'f' holds no vector yet"):
        measure(make_field(tmp_path / "s.store", [np.zeros((0, 2), np.float32)]))


def test_a_histogram_counts_into_equal_bins_and_draws_bars():
    histogram = Histogram.of("x", np.array([0, 1, 1, 4.0]), bins=4)
    assert (histogram.edges, histogram.counts) == ([0, 1, 2, 3, 4], [1, 2, 0, 1])
    assert histogram.lines(width=4) == ["0 ██   1", "1 ████ 2", "2      0", "3 ██   1"]


def test_a_histogram_of_equal_values_or_none_still_has_bins():
    assert sum(Histogram.of("x", np.full(5, 3.0)).counts) == 5
    assert sum(Histogram.of("x", np.zeros(2)).counts) == 2
    assert sum(Histogram.of("x", np.zeros(0)).counts) == 0
    assert len(Histogram.of("x", np.zeros(0)).lines()) == 20


def test_a_picture_shows_the_bars(tmp_path):
    high = Histogram.of("x", np.array([0.0, 1, 1, 1]), bins=2)
    save_png([high, high], tmp_path / "h.png")
    with Image.open(tmp_path / "h.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (720, 600))
        pixels = np.asarray(picture.convert("RGB"))
    bars = (pixels == (0x2F, 0x6F, 0xDE)).all(axis=2)
    left, right = bars[:300, :360].sum(), bars[:300, 360:].sum()
    assert right == pytest.approx(3 * left, rel=0.05)
    np.testing.assert_array_equal(bars[:300], bars[300:])

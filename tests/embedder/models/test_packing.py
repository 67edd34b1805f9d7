"""Batches hold captions of like length and stay within the token budget."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embedder.models.packing import pack


def test_short_captions_share_a_batch_and_a_long_one_is_alone():
    assert [batch.tolist() for batch in pack([2, 9, 3, 3], budget=9)] == [[1], [3, 2], [0]]


def test_a_caption_longer_than_the_budget_gets_a_batch_of_its_own():
    assert [batch.tolist() for batch in pack([5, 20], budget=10)] == [[1], [0]]


def test_a_batch_ends_where_captions_get_much_shorter_but_only_once_it_is_a_quarter_full():
    lengths = [16] * 3 + [15] * 2 + [8] * 4
    assert [len(batch) for batch in pack(lengths, budget=16 * 20)] == [5, 4]  # 5 x 16 tokens are a quarter
    assert [len(batch) for batch in pack(lengths, budget=16 * 24)] == [6, 3]


def test_no_captions_make_no_batches():
    assert pack([], budget=10) == []


@given(st.lists(st.integers(1, 80), max_size=200), st.integers(1, 300))
def test_every_caption_is_in_one_batch_within_the_budget(lengths, budget):
    batches = pack(lengths, budget)
    assert sorted(np.concatenate([*batches, []]).tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget

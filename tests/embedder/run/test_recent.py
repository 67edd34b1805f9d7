"""The memory of recent captions is bounded and forgets the least used."""

import numpy as np

from embedder.run.window import Recent


def test_what_was_not_asked_for_the_longest_is_forgotten_first():
    recent = Recent(max_bytes=2 * (4 + 8))  # two captions of one character with two numbers each
    recent.add("ab", np.array([[1, 2], [3, 4]], np.float32))
    assert recent.get("a").tolist() == [1, 2]
    recent.add("c", np.array([[5, 6]], np.float32))
    assert recent.get("b") is None
    assert recent.get("a").tolist() == [1, 2]
    assert recent.get("c").tolist() == [5, 6]


def test_remembered_vectors_do_not_keep_their_window_alive():
    recent = Recent(max_bytes=1000)
    vectors = np.zeros((1, 2), np.float32)
    recent.add("a", vectors)
    vectors[:] = 7
    assert recent.get("a").tolist() == [0, 0]

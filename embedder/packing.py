"""Batches by token budget instead of by caption count: short captions in large batches, little padding."""

from collections.abc import Sequence

import numpy as np


def pack(lengths: Sequence[int] | np.ndarray, budget: int) -> list[np.ndarray]:
    """Group captions of these lengths (in tokens) into batches whose padded size stays within ``budget`` tokens.

    Every index comes in exactly one batch; batches go from long to short, so that a budget which does not fit
    the memory fails at once. A caption longer than the budget gets a batch of its own.

    >>> [batch.tolist() for batch in pack([2, 9, 3, 3], budget=9)]
    [[1], [3, 2, 0]]
    """
    lengths = np.asarray(lengths)
    order = np.argsort(lengths, kind="stable")[::-1]
    batches = []
    begin = 0
    while begin < len(order):
        longest = max(int(lengths[order[begin]]), 1)
        end = begin + max(budget // longest, 1)
        batches.append(order[begin:end])
        begin = end
    return batches

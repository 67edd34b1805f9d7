"""The table from key hashes to places."""

import numpy as np
import pytest

from store.index.keytable import ABSENT, MAX_ROWS, MERGE_RATIO, KeyTable, locate_in, num_to_merge, table_bytes


def random_hashes(count, seed=0):
    return np.random.default_rng(seed).integers(0, 2**64, (count, 2), dtype=np.uint64)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 100, 1023, 1024, 1025, 20_000])
def test_every_hash_leads_to_its_place_and_others_to_none(count):
    hashes = random_hashes(count)
    table = KeyTable.build(hashes, np.arange(count) + 7)
    order = np.random.default_rng(1).permutation(count)
    np.testing.assert_array_equal(table.locate(hashes[order]), order + 7)
    assert (table.locate(random_hashes(1000, seed=2)) == ABSENT).all()
    assert table.locate(hashes[:0]).tolist() == []


def test_hashes_that_share_a_half_are_told_apart():
    hashes = np.zeros((300, 2), np.uint64)
    hashes[:, 0] = np.arange(300) % 5 << 61
    hashes[:, 1] = np.arange(300)
    table = KeyTable.build(hashes, np.arange(300))
    np.testing.assert_array_equal(table.locate(hashes), np.arange(300))
    hashes[:, 1] += np.uint64(300)
    assert (table.locate(hashes) == ABSENT).all()


def test_the_smallest_and_the_largest_hash_are_found():
    hashes = np.array([[0, 0], [2**64 - 1, 2**64 - 1]], np.uint64)
    assert KeyTable.build(hashes, np.array([3, 4])).locate(hashes).tolist() == [3, 4]


def test_an_empty_table_finds_nothing():
    assert KeyTable.build(random_hashes(0), np.zeros(0, np.int64)).locate(random_hashes(2)).tolist() == [ABSENT] * 2
    assert locate_in([], random_hashes(2)).tolist() == [ABSENT] * 2


def test_tables_are_searched_together_merged_and_reduced():
    hashes = random_hashes(3000)
    parts = [KeyTable.build(hashes[i : i + 1000], np.arange(i, i + 1000)) for i in (0, 1000, 2000)]
    np.testing.assert_array_equal(locate_in(parts, hashes), np.arange(3000))
    merged = KeyTable.merge(parts)
    np.testing.assert_array_equal(merged.locate(hashes), np.arange(3000))
    even = merged.only(merged.places % 2 == 0)
    np.testing.assert_array_equal(even.locate(hashes), np.where(np.arange(3000) % 2, ABSENT, np.arange(3000)))


def test_the_bytes_of_a_table_are_a_table():
    hashes = random_hashes(1000)
    data = np.concatenate(KeyTable.build(hashes, np.arange(1000)).parts())
    assert len(data) == table_bytes(1000)
    np.testing.assert_array_equal(KeyTable.from_bytes(data, 1000).locate(hashes), np.arange(1000))


def test_a_table_takes_in_predecessors_that_are_not_much_larger():
    assert MERGE_RATIO == 8
    assert num_to_merge([], 10) == 0
    assert num_to_merge([79], 10) == 1
    assert num_to_merge([80], 10) == 0
    assert num_to_merge([959, 100, 10], 10) == 3  # 10 + 10, 20 + 100, and 959 is less than 8 times 120
    assert num_to_merge([960, 100, 10], 10) == 2


def test_tables_stop_growing_at_a_size_that_is_still_easily_merged():
    assert num_to_merge([MAX_ROWS - 5], MAX_ROWS // 2) == 0
    assert num_to_merge([MAX_ROWS // 2], MAX_ROWS // 2) == 1


def test_many_equal_commits_leave_few_tables_and_rewrite_little():
    sizes, rewritten = [], 0
    for _ in range(2874):
        merged = num_to_merge(sizes, 1000)
        new = 1000 + sum(sizes[len(sizes) - merged :])
        sizes[len(sizes) - merged :] = [new]
        rewritten += new
    assert sum(sizes) == 2_874_000
    assert len(sizes) <= 4
    assert rewritten < 18 * 2_874_000

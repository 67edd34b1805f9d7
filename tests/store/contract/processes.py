"""Readers and writers at the same time, in threads and in processes."""

import multiprocessing
import re
import threading

import numpy as np
import pytest

import store
from tests.store.contract.base import Contract
from tests.store.examples import make_block, make_spec


def read_in_child(field, keys, queue):
    try:
        queue.put(field.get(keys).tolist())
    except BaseException as error:
        queue.put(repr(error))
        raise


def write_in_child(path, name, spec, blocks):
    writer = store.open(path, mode="a").writer(name, spec)
    for block in blocks:
        writer.commit(block, *make_block(block, 20))


class Processes(Contract):
    """Several at once."""

    def test_a_reader_sees_blocks_as_they_are_committed(self, filled, path):
        field = store.open(path).field("f")
        assert "d/1" not in field
        filled.writer("f", make_spec()).commit("d", *make_block("d", 2))
        assert "d/1" in field
        np.testing.assert_array_equal(field.get(["d/1"]), make_block("d", 2)[1][1:])
        assert len(field) == 506

    def test_a_store_may_be_open_several_times_in_a_process(self, filled, path):
        first, second = store.open(path), store.open(path, mode="a")
        second.writer("g", make_spec()).commit("a", *make_block("a", 1))
        assert set(first.fields()) == {"f", "g"}

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_a_field_in_use_can_be_sent_to_another_process(self, filled, path, method):
        field = store.open(path).field("f")
        expected = field.get(["b/1", "a/2"]).tolist()
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        process = context.Process(target=read_in_child, args=(field, ["b/1", "a/2"], queue))
        process.start()
        assert queue.get(timeout=60) == expected
        process.join(60)
        assert process.exitcode == 0
        assert field.get(["b/1", "a/2"]).tolist() == expected

    def test_two_processes_write_one_field_at_once(self, empty, path):
        names = [[f"{who}{i}" for i in range(15)] for who in "xy"]
        context = multiprocessing.get_context("spawn")
        processes = [context.Process(target=write_in_child, args=(str(path), "f", make_spec(), n)) for n in names]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
            assert process.exitcode == 0
        field = empty.field("f")
        assert sorted(field.blocks()) == sorted(names[0] + names[1])
        for block in field.blocks():
            keys, vectors, _ = make_block(block, 20)
            np.testing.assert_array_equal(field.get(keys), vectors)

    def test_threads_may_share_a_field_and_a_writer(self, filled):
        field, writer = filled.field("f"), filled.writer("f", make_spec())
        failures = []

        def work(number):
            try:
                for i in range(10):
                    keys, vectors, hashes = make_block(f"t{number}.{i}", 5)
                    writer.commit(f"t{number}.{i}", keys, vectors, hashes)
                    np.testing.assert_array_equal(field.get(keys), vectors)
            except Exception as error:  # noqa: BLE001 - reported below, whatever it is
                failures.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert len(field) == 504 + 4 * 10 * 5

    def test_many_small_blocks_stay_findable(self, empty):
        writer = empty.writer("f", make_spec())
        for i in range(60):
            writer.commit(f"n{i}", *make_block(f"n{i}", 1 + i % 3))
        field = empty.field("f")
        for i in range(60):
            keys, vectors, _ = make_block(f"n{i}", 1 + i % 3)
            np.testing.assert_array_equal(field.get(keys), vectors)
        assert re.fullmatch(r"n\d+", field.blocks()[-1])

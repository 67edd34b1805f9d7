"""Work runs ahead and behind in threads; errors come out where the caller is, and nothing is left running."""

import itertools
import threading

import pytest

from embedder.run.pipeline import ahead, behind


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("keyclip")]


def test_items_come_in_order():
    with ahead(range(100)) as items:
        assert list(items) == list(range(100))
    assert not threads()


def test_an_error_while_producing_comes_out_at_the_consumer_after_the_items_before_it():
    def produce():
        yield 1
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"), ahead(produce()) as items:  # noqa: PT012
        assert next(items) == 1
        next(items)
    assert not threads()


def test_a_consumer_that_stops_early_stops_the_producer():
    with ahead(itertools.count()) as items:
        assert next(items) == 0
    assert not threads()


def test_the_producer_is_only_a_few_items_ahead():
    produced = []
    with ahead((produced.append(i) or i for i in itertools.count()), depth=2) as items:
        next(items)
        assert len(produced) <= 1 + 2 + 1


def test_work_behind_finishes_what_it_accepted_before_the_context_ends():
    done = []
    with behind(done.append) as submit:
        for i in range(20):
            submit(i)
    assert done == list(range(20))
    assert not threads()


def test_an_error_of_work_behind_comes_out_at_the_end():
    def work(item):
        raise OSError(f"disk full at {item}")

    with pytest.raises(OSError, match="disk full at 0"), behind(work) as submit:
        submit(0)
    assert not threads()


def test_an_error_of_work_behind_does_not_hide_the_callers():
    with pytest.raises(KeyError), behind(lambda item: 1 / 0) as submit:  # noqa: PT012
        submit(0)
        raise KeyError("mine")

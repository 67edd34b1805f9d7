"""Threads of a run: reading and tokenising run ahead of the model, committing runs behind it.

Few items wait between them, so memory stays bounded by a few windows whatever the size of the data.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def ahead(items: Iterable[T], depth: int = 2) -> Iterator[Iterator[T]]:
    """Produce ``items`` in a thread, at most ``depth`` and one ahead; errors are raised where items are consumed."""
    source = iter(items)
    waiting: deque[Future[list[T]]] = deque()  # one item each, or none at the end

    def consume() -> Iterator[T]:
        while produced := waiting.popleft().result():
            waiting.append(thread.submit(list, islice(source, 1)))
            yield from produced

    with ThreadPoolExecutor(1, "keyclip-ahead") as thread:
        waiting.extend(thread.submit(list, islice(source, 1)) for _ in range(depth + 1))
        try:
            yield consume()
        finally:
            thread.shutdown(cancel_futures=True)


@contextmanager
def behind(work: Callable[[T], None], depth: int = 2) -> Iterator[Callable[[T], None]]:
    """A function that has ``work(item)`` run in a thread, in order; leaving the context waits for all items.

    It raises what an earlier item raised; items after that one are dropped.
    """
    errors: list[BaseException] = []
    room = threading.Semaphore(depth + 1)

    def run(item: T) -> None:
        try:
            if not errors:
                work(item)
        except BaseException as error:  # noqa: BLE001 - raised again by submit or at the end
            errors.append(error)
        finally:
            room.release()

    def submit(item: T) -> None:
        if errors:
            raise errors[0]
        room.acquire()
        thread.submit(run, item)

    with ThreadPoolExecutor(1, "keyclip-behind") as thread:
        yield submit
    if errors:
        raise errors[0]

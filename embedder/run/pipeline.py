"""Threads of a run: reading and tokenising run ahead of the model, committing runs behind it.

Queues between them are short, so memory stays bounded by a few windows whatever the size of the data.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


@contextmanager
def ahead(items: Iterable[T], depth: int = 2) -> Iterator[Iterator[T]]:
    """Produce ``items`` in a thread, at most ``depth`` ahead of the consumer; errors come out at the consumer."""
    stop = threading.Event()
    results: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(depth)

    def put(entry: tuple[bool, T | BaseException | None]) -> bool:
        while not stop.is_set():
            try:
                results.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def produce() -> None:
        try:
            for item in items:
                if not put((True, item)):
                    return
            put((False, None))
        except BaseException as error:  # noqa: BLE001 - raised again in the consumer's thread
            put((False, error))

    def consume() -> Iterator[T]:
        while True:
            going_on, item = results.get()
            if going_on:
                yield item  # type: ignore[misc]
            elif item is None:
                return
            else:
                raise item  # type: ignore[misc]

    thread = threading.Thread(target=produce, name="keyclip-ahead", daemon=True)
    thread.start()
    try:
        yield consume()
    finally:
        stop.set()
        thread.join()


class Worker(Generic[T]):
    """Runs ``work(item)`` in a thread, in order. Leaving the context waits for what was accepted."""

    def __init__(self, work: Callable[[T], None], depth: int = 2) -> None:
        self._work = work
        self._items: queue.Queue[T | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="keyclip-worker", daemon=True)

    def __enter__(self) -> "Worker[T]":
        self._thread.start()
        return self

    def submit(self, item: T) -> None:
        """Queue an item; raises what an earlier item raised."""
        if self._error is not None:
            raise self._error
        self._items.put(item)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._items.put(None)
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error

    def _run(self) -> None:
        while (item := self._items.get()) is not None:
            if self._error is None:
                try:
                    self._work(item)
                except BaseException as error:  # noqa: BLE001 - raised again by submit or at the end
                    self._error = error

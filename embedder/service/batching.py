"""Dynamic batching: requests that wait at the same time go through the model together."""

import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from embedder.models.encoder import Encoder, Vectors
from embedder.models.tokens import Tokens
from embedder.service.metrics import Metrics
from store.common.errors import KeyclipError

# Requests are gathered until they fill this many batches of the model.
_GATHER_BATCHES = 4


class OverloadedError(KeyclipError, RuntimeError):
    """More waits for the model than was allowed; come again later."""


class ClosedError(KeyclipError, RuntimeError):
    """The service is stopping."""


@dataclass(frozen=True, slots=True)
class _Request:
    tokens: Sequence[Tokens]
    num_tokens: int
    result: "Future[Vectors]" = field(default_factory=Future)


class Batcher:
    """Runs an encoder in a thread of its own. Closing it finishes what was accepted."""

    def __init__(self, encoder: Encoder, metrics: Metrics, max_pending_tokens: int, linger_seconds: float) -> None:
        self._encoder = encoder
        self._metrics = metrics
        self._max_pending = max_pending_tokens
        self._linger = linger_seconds
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self.pending_tokens = 0
        """Tokens that wait for the model or are in it."""
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="keyclip-batcher", daemon=True)
        self._thread.start()

    def submit(self, tokens: Sequence[Tokens]) -> "Future[Vectors]":
        """Vectors (n, D) float32 of tokenised captions, in their order, when the model comes to them.

        Raises:
            OverloadedError: too much waits already. A request is always accepted when nothing waits.
            ClosedError: the batcher was closed.
        """
        request = _Request(tokens, sum(len(t.ids) for t in tokens))
        with self._lock:
            if self._closed:
                raise ClosedError("the service is stopping; ask another one, or this one after its restart")
            if self.pending_tokens and self.pending_tokens + request.num_tokens > self._max_pending:
                raise OverloadedError(
                    f"{self.pending_tokens} tokens wait for the model already; come again in a moment"
                )
            self._add_pending(request.num_tokens)
            self._requests.put(request)
        return request.result

    def close(self) -> None:
        """Finish what was accepted, accept nothing more, and end the thread."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._requests.put(None)
        self._thread.join()

    def _add_pending(self, count: int) -> None:
        self.pending_tokens += count
        self._metrics.pending_tokens.set(self.pending_tokens)

    def _run(self) -> None:
        going_on = True
        while going_on:
            requests, going_on = self._gather()
            self._serve([r for r in requests if r.result.set_running_or_notify_cancel()])
            with self._lock:
                self._add_pending(-sum(r.num_tokens for r in requests))

    def _gather(self) -> tuple[list[_Request], bool]:
        """The requests of one round; whether there will be another."""
        requests: list[_Request] = []
        deadline = float("inf")
        room = _GATHER_BATCHES * self._encoder.batch_tokens
        while room > 0:
            try:
                timeout = None if not requests else max(deadline - time.monotonic(), 0)
                request = self._requests.get(timeout=timeout)
            except queue.Empty:
                break
            if request is None:
                return requests, False
            if not requests:
                deadline = time.monotonic() + self._linger
            requests.append(request)
            room -= request.num_tokens
        return requests, True

    def _serve(self, requests: Sequence[_Request]) -> None:
        if not requests:
            return
        self._metrics.requests_per_round.observe(len(requests))
        try:
            started = time.perf_counter()
            vectors = self._encoder.embed([t for request in requests for t in request.tokens])
            self._metrics.model_seconds.inc(time.perf_counter() - started)
        except Exception as error:  # noqa: BLE001 - goes to the requests that caused it, and to no other
            if len(requests) == 1:
                requests[0].result.set_exception(error)
            else:
                for request in requests:
                    self._serve([request])
            return
        self._metrics.tokens.inc(sum(request.num_tokens for request in requests))
        first = 0
        for request in requests:
            request.result.set_result(vectors[first : first + len(request.tokens)])
            first += len(request.tokens)

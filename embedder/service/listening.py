"""Runs a web application until SIGTERM or SIGINT, whatever slow, too many or leaving clients do."""

import asyncio
import errno
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from store.common.errors import ConfigError

_log = logging.getLogger("uvicorn.error")
_BACKLOG = 128
_RESERVED_DESCRIPTORS = 64
_SECONDS_BETWEEN_COMPLAINTS = 60.0
_TOO_LATE = b"the request did not arrive in time"


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may take of a server."""

    max_connections: int = 1000
    """At the same time; further ones are closed at once."""
    request_seconds: float = 60
    """From a connection's begin, or a request's first byte, until the request has arrived, its body included."""


class _Protocol(H11Protocol):
    """HTTP on one connection, with a deadline for requests to arrive and without Nagle's algorithm.

    uvicorn writes an answer's head and body one after the other; the algorithm would hold the body back until the
    client has acknowledged the head, 40 ms later.
    """

    def __init__(self, limits: Limits, **given: Any) -> None:
        super().__init__(**given)
        self._limits = limits
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limits.max_connections:
            transport.abort()
            return
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Start the clock when a request is on its way; stop it when it has arrived."""
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._unwatch()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self._limits.request_seconds, self._too_late)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:
            head = f"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: {len(_TOO_LATE)}\r\n\r\n"
            self.transport.write(head.encode() + _TOO_LATE)
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True  # tells the application that its client is gone, so that it writes nothing more
            cycle.message_event.set()
        self.transport.close()


class Server(uvicorn.Server):
    """A server of ``app`` at ``host``; :meth:`run` returns after :attr:`should_exit` is set, when all is answered.

    Raises:
        ConfigError: the address cannot be listened at.
    """

    def __init__(
        self, app: ASGIApp, host: str, port: int, grace_seconds: int = 600, limits: Limits | None = None
    ) -> None:
        backlog, limits = _within_descriptors(limits or Limits())
        settings = uvicorn.Config(
            app,
            host=host,
            port=port,
            loop="asyncio",
            http=partial(_Protocol, limits),  # type: ignore[arg-type]
            ws="none",
            backlog=backlog,
            log_level="warning",
            timeout_graceful_shutdown=grace_seconds,
            server_header=False,
        )
        super().__init__(settings)
        try:
            self.socket = settings.bind_socket()
        except SystemExit as error:  # uvicorn's way to say that it cannot listen
            raise ConfigError(f"cannot listen at {host}:{port}; is another service there?") from error
        name = f"[{host}]" if ":" in host else host
        self.address = f"http://{name}:{self.socket.getsockname()[1]}"
        self.on_listening: Callable[[str], None] = lambda address: None

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        super().run(sockets or [self.socket])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(_Complaints())
        await super().startup(sockets)
        if self.started:
            self.on_listening(self.address)


class _Complaints:
    """The event loop's handler of exceptions: says once a minute that descriptors ran out, not at every attempt."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE) and "socket" in context):
            loop.default_exception_handler(context)
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + _SECONDS_BETWEEN_COMPLAINTS
            _log.error("no file descriptor is free for another connection; raise the limit (ulimit -n)")


def _within_descriptors(limits: Limits) -> tuple[int, Limits]:
    """How many connections may wait to be accepted, and the limits that this process's descriptors allow."""
    free = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - len(os.listdir("/dev/fd"))
    backlog = max(min(_BACKLOG, free // 4), 1)
    connections = free - backlog - min(_RESERVED_DESCRIPTORS, free // 4)
    return backlog, Limits(max(min(limits.max_connections, connections), 1), limits.request_seconds)


def run_app(
    app: ASGIApp,
    host: str,
    port: int,
    grace_seconds: int,
    on_listening: Callable[[str], None],
    limits: Limits | None = None,
) -> None:
    """Listen, and return after SIGTERM or SIGINT, when what was accepted is answered or ``grace_seconds`` are over.

    Port 0 takes a free one; ``on_listening`` gets the address once requests are taken.

    Raises:
        ConfigError: the address cannot be listened at.
    """
    server = Server(app, host, port, grace_seconds, limits)
    server.on_listening = on_listening
    # uvicorn raises the signal again after its shutdown; an orderly stop is no failure
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        server.run()
    finally:
        signal.signal(signal.SIGTERM, before)

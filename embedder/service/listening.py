"""Runs a web application until it is told to stop."""

import signal
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from store.errors import ConfigError


class _Server(uvicorn.Server):
    on_listening: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.on_listening()


def run_app(app: ASGIApp, host: str, port: int, grace_seconds: int, on_listening: Callable[[str], None]) -> None:
    """Listen, and return after SIGTERM or SIGINT, when what was accepted is answered or ``grace_seconds`` are over.

    Port 0 takes a free one; ``on_listening`` gets the address once requests are taken.

    Raises:
        ConfigError: the address cannot be listened at.
    """
    settings = uvicorn.Config(
        app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=grace_seconds, server_header=False
    )
    server = _Server(settings)
    try:
        sock = server.config.bind_socket()
    except SystemExit as error:  # uvicorn's way to say that it cannot listen
        raise ConfigError(f"cannot listen at {host}:{port}; is another service there?") from error
    name = f"[{host}]" if ":" in host else host
    server.on_listening = lambda: on_listening(f"http://{name}:{sock.getsockname()[1]}")
    # uvicorn raises the signal again after its shutdown; an orderly stop is no failure
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        server.run(sockets=[sock])
    finally:
        signal.signal(signal.SIGTERM, before)

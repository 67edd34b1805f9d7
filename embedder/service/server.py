"""Runs the service until it is told to stop."""

import signal
import socket
from collections.abc import Callable

import uvicorn

from embedder.load import load_encoder
from embedder.service.app import create_app
from embedder.service.config import ServeConfig
from store.errors import ConfigError


class _Server(uvicorn.Server):
    on_listening: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.on_listening()


def serve(config: ServeConfig, on_listening: Callable[[str], None]) -> None:
    """Load the model, listen, and return after SIGTERM or SIGINT, when what was accepted is answered and committed.

    ``on_listening`` gets the service's address once requests are taken.

    Raises:
        ConfigError: the address cannot be listened at, or a setting does not fit.
    """
    config.token()  # before the model is loaded
    app = create_app(config, load_encoder(config.model_options()))
    server = _Server(
        uvicorn.Config(
            app,
            host=config.host,
            port=config.port,
            log_level="warning",
            timeout_graceful_shutdown=config.grace_seconds,
            server_header=False,
        )
    )
    try:
        sock = server.config.bind_socket()
    except SystemExit as error:  # uvicorn's way to say that it cannot listen
        raise ConfigError(f"cannot listen at {config.host}:{config.port}; is another service there?") from error
    port = sock.getsockname()[1]
    host = f"[{config.host}]" if ":" in config.host else config.host
    server.on_listening = lambda: on_listening(f"http://{host}:{port}")
    # uvicorn raises the signal again after its shutdown; an orderly stop is no failure
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        server.run(sockets=[sock])
    finally:
        signal.signal(signal.SIGTERM, before)

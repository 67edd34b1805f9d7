"""Runs the service until it is told to stop."""

from collections.abc import Callable

from embedder.models.load import load_encoder
from embedder.service.app import create_app
from embedder.service.config import ServeConfig
from embedder.service.listening import Limits, run_app


def serve(config: ServeConfig, on_listening: Callable[[str], None]) -> None:
    """Load the model, listen, and return after SIGTERM or SIGINT, when what was accepted is answered and committed.

    ``on_listening`` gets the service's address once requests are taken.

    Raises:
        ConfigError: the address cannot be listened at, or a setting does not fit.
    """
    config.token()  # before the model is loaded
    app = create_app(config, load_encoder(config))
    limits = Limits(config.max_connections, config.request_seconds)
    run_app(app, config.host, config.port, config.grace_seconds, on_listening, limits)

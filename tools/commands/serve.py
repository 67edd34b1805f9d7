"""``keyclip serve``: one model over HTTP, keyed captions into a store."""

from embedder.service.config import ServeConfig as Config
from store.common.errors import ConfigError

__all__ = ["Config", "run"]


def run(config: Config) -> None:
    try:
        from embedder.service.app import serve
    except ImportError as error:
        raise ConfigError(f"keyclip serve needs {error.name}; install keyclip[serve]") from error
    serve(config, lambda address: print(f"listening at {address} (API: {address}/docs)", flush=True))

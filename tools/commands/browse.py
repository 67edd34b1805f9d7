"""``keyclip browse``: look through a store in a web browser."""

import sys
from dataclasses import dataclass

from store.common.errors import ConfigError
from store.common.settings import Port, Positional


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Look through a store and its images in a web browser on this machine.

    Type a caption to see the nearest captions and images; open a key to see its image, captions and neighbours; see
    coverage and statistics of each field. The pages need no network and no mouse: ? shows the keys.

    Example:
        keyclip browse cc3m.store --shards 'cc3m/{00000..00331}.tar'
        keyclip browse my.store --shards 'my/*.tar' --model models/minilm
    """

    store: Positional[str]
    """Folder or URL of the store."""
    shards: tuple[str, ...] = ()
    """Local shards with images and captions: paths, globs, brace ranges, or @FILE. Without them only keys are shown."""
    model: tuple[str, ...] = ()
    """Folders or hub ids of the fields' models, for searching by caption; needed for models that came from a folder."""
    adapters: tuple[str, ...] = ()
    """Adapters of a decoder LLM: folders or hub ids; by default the hub ids that the field names."""
    device: str = "auto"
    """Where the model runs: cuda, cuda:1, mps or cpu."""
    memory_gb: float = 4.0
    """Memory for vectors, in GB; a field that does not fit is read again for every search."""
    host: str = "127.0.0.1"
    """Loopback address to listen at. From another machine: ssh -L 8008:localhost:8008 THIS_MACHINE."""
    port: Port = 8008
    """Port to listen at; 0 takes a free port and prints it."""

    def __post_init__(self) -> None:
        if not self.memory_gb >= 0:
            raise ConfigError(f"--memory-gb must be 0 or more, not {self.memory_gb}")


def run(config: Config) -> None:
    """Serve the pages until SIGTERM or Ctrl-C."""
    try:
        from embedder.service.config import is_loopback
        from embedder.service.listening import run_app
        from tools.browse.app import create_app
    except ImportError as error:
        raise ConfigError(f"keyclip browse needs {error.name}; install keyclip[serve]") from error
    from tools.browse.library import Library

    if not is_loopback(config.host):
        raise ConfigError(
            f"--host {config.host} lets other machines in, and these pages ask for no password; listen at 127.0.0.1 "
            f"and reach them from elsewhere through ssh -L {config.port}:localhost:{config.port}"
        )
    library = Library(
        config.store,
        config.shards,
        models=config.model,
        adapters=config.adapters,
        device=config.device,
        max_bytes=int(config.memory_gb * 1e9),
        show_progress=sys.stderr.isatty(),
    )
    app, grace_seconds = create_app(library, config.host), 3
    run_app(app, config.host, config.port, grace_seconds, lambda address: print(f"browse at {address}/", flush=True))

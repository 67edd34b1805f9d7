"""``keyclip embed``: captions into fields of a store."""

from embedder.__main__ import run
from embedder.run.config import EmbedConfig as Config

__all__ = ["Config", "run"]

"""``keyclip embed``: captions into fields of a store."""

from embedder.config import EmbedConfig as Config
from embedder.run import embed

__all__ = ["Config", "run"]


def run(config: Config) -> None:
    report = embed(config)
    print(report.as_json() if config.json else report)

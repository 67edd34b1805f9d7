"""``keyclip embed``: captions into fields of a store."""

import json

from embedder.config import EmbedConfig as Config
from embedder.run import embed

__all__ = ["Config", "run"]


def run(config: Config) -> None:
    report = embed(config)
    print(json.dumps(report.as_dict(), indent=2) if config.json else report)

"""``keyclip embed``: captions into fields of a store."""

from embedder.run.config import EmbedConfig as Config

__all__ = ["Config", "run"]


def run(config: Config) -> int:
    from embedder.run.embed import embed  # imports torch, which --help need not wait for

    report = embed(config)
    print(report.as_json() if config.json else report)
    return 1 if report.damaged else 0

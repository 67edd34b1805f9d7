"""``deepspeed --num_gpus N --module embedder ...``: ``keyclip embed`` by as many ranks as the launcher starts.

torchrun (``-m embedder``), srun and mpirun (``python -m embedder``) do as well. Ranks divide the shards and need no
connection to each other.
"""

import sys

from embedder.config import EmbedConfig
from store.command import run_command


def run(config: EmbedConfig) -> int:
    from embedder.run import embed  # imports torch, which --help need not wait for

    report = embed(config)
    sys.stdout.write(f"{report.as_json() if config.json else report}\n")
    return 1 if report.damaged else 0


if __name__ == "__main__":
    sys.exit(run_command(EmbedConfig, run, sys.argv[1:], "embedder"))

"""``deepspeed --num_gpus N --module embedder ...``: ``keyclip embed`` on as many ranks as the launcher starts.

torchrun (``-m embedder``), srun and mpirun (``python -m embedder``) start it too. Ranks divide the shards and need no
connection to each other.
"""

import importlib.util
import sys
from pathlib import Path

# before anything of keyclip's is imported: a store.py of the user's own, in the folder where this starts, comes first
_spec = importlib.util.find_spec("store")
if _spec is None or Path(_spec.origin or "/").resolve().parents[1] != Path(__file__).resolve().parents[1]:
    where = _spec.origin if _spec else None
    sys.exit(f"keyclip: error: the Python package 'store' is {where!r}, not keyclip's; start in another folder")

from embedder.run.config import EmbedConfig  # noqa: E402
from store.common.command import run_command  # noqa: E402


def run(config: EmbedConfig) -> int:
    from embedder.run.embed import embed  # imports torch, which --help need not wait for

    report = embed(config)
    sys.stdout.write(f"{report.as_json() if config.json else report}\n")
    return 1 if report.damaged else 0


if __name__ == "__main__":
    sys.exit(run_command(EmbedConfig, run, sys.argv[1:], "embedder"))

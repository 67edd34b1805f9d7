"""The real launcher, as a user calls it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from tests import ROOT


def deepspeed(module: str, *arguments: object, ranks: int = 2) -> subprocess.CompletedProcess[str]:
    """``deepspeed --num_gpus RANKS --module MODULE ARGUMENTS`` in the repository's root, its output as text."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    binaries = Path(sys.executable).parent
    command = [str(binaries / "deepspeed"), f"--num_gpus={ranks}", "--log_level=error", f"--master_port={port}"]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "TOKENIZERS_PARALLELISM": "false",
    }
    return subprocess.run(
        [*command, "--module", module, *map(str, arguments)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=400,
    )  # fmt: skip

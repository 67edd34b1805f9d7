"""Runs the commands that documents show."""

import os
import subprocess
import sys

from tests import ROOT
from tests.docs.commands import Shown
from tools.__main__ import main


def run(shown: Shown) -> None:
    """Run a keyclip command in this process, and a command with ranks as one rank in a process of its own."""
    if shown.words[0] == "keyclip" and shown.program[0] != "trainer":
        assert main(shown.words[1:]) == 0, shown
        return
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *shown.program, *shown.arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]

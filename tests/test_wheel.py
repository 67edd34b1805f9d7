"""The wheel: built without a network, installed outside the checkout, complete and able to run."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests import ROOT

PACKAGES = ("store", "embedder", "trainer", "tools")
BUILT_FROM = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")


def run(*command: object, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy, since setuptools writes into the folder that it builds from."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in BUILT_FROM:
        shutil.copy(ROOT / name, folder / "source" / name)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", "--no-index",
        "--wheel-dir", folder, folder / "source", cwd=folder)  # fmt: skip
    [file] = folder.glob("keyclip-*.whl")
    return file


@pytest.fixture(scope="module")
def bin_folder(wheel, tmp_path_factory) -> Path:
    """The programs of an environment that has the wheel, and everything else from this environment."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel,
        cwd=folder)  # fmt: skip
    [packages] = folder.glob("lib/*/site-packages")
    others = [entry for entry in sys.path if entry.endswith("site-packages")]
    (packages / "others.pth").write_text("\n".join(others) + "\n")
    return folder / "bin"


def test_the_wheel_holds_every_module_and_data_file(wheel):
    there = set(zipfile.ZipFile(wheel).namelist())
    files = [path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file()]
    wanted = {str(path.relative_to(ROOT)) for path in files if path.suffix not in (".pyc", ".md")}
    assert wanted - there == set()
    assert any(name.endswith(".csv") for name in wanted)


def test_the_installed_wheel_runs_outside_the_checkout(bin_folder, tmp_path):
    place = run(bin_folder / "python", "-c", "import store, tools.scenes; print(store.__file__)", cwd=tmp_path)
    assert Path(place.strip()).is_relative_to(bin_folder.parent)
    assert run(bin_folder / "keyclip", "--version", cwd=tmp_path).startswith("keyclip 0.")
    assert "demo-data" in run(bin_folder / "keyclip", "--help", cwd=tmp_path)
    run(bin_folder / "keyclip", "demo-data", "--output", "data", "--splits", "finetune=5", cwd=tmp_path)
    assert (tmp_path / "data" / "finetune" / "70000.tar").exists()

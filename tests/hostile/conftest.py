import os
import shutil
import stat
from pathlib import Path

import pytest

from tests.hostile.world import build


@pytest.fixture(scope="session")
def sound_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file of every kind that commands read."""
    folder = tmp_path_factory.mktemp("hostile") / "world"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        build(folder)
    return folder


@pytest.fixture
def world(sound_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to work in, with a null device of its own (a pipe where none can be made)."""
    folder = tmp_path / "world"
    shutil.copytree(sound_world, folder)
    try:
        os.mknod(folder / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except OSError:
        os.mkfifo(folder / "null")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder

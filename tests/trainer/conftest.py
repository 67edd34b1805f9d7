import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.embedder.small_models import save_clip
from tests.processes import run_ranks
from tests.trainer.examples import make_store, write_shard

KEYS = [f"{i:09d}" for i in range(24)]


@pytest.fixture(autouse=True, scope="package")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Shard indexes go to a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of random weights: 32-pixel images, 16-wide joint space."""
    folder = tmp_path_factory.mktemp("models") / "tiny-clip"
    save_clip(folder)
    return folder


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three shards of eight samples each: the keys of :data:`KEYS`."""
    folder = tmp_path_factory.mktemp("shards")
    return [write_shard(folder / f"{i:05d}.tar", KEYS[8 * i : 8 * i + 8]) for i in range(3)]


@pytest.fixture(scope="session")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the caption vectors and teacher vectors of :data:`KEYS`."""
    return make_store(tmp_path_factory.mktemp("stores") / "captions.store", KEYS)


@pytest.fixture
def settings(shards: list[str], store_path: Path, clip_folder: Path, tmp_path: Path) -> dict[str, Any]:
    """Settings of stage 2 that fit together."""
    return {
        "output": tmp_path / "run",
        "shards": tuple(shards),
        "store": store_path,
        "fields": ("llm/short", "llm/long"),
        "clip": str(clip_folder),
        "batch_size": 8,
    }


@pytest.fixture(scope="session")
def engines(shards, store_path, clip_folder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``tests.trainer.engines`` found on two ranks; once for all processes that run tests."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "engines"
    with FileLock(f"{folder}.lock"):
        if not (folder / "results.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            settings = {
                "output": str(folder),
                "shards": shards,
                "store": str(store_path),
                "fields": ["llm/short", "llm/long"],
                "clip": str(clip_folder),
                "batch_size": 8,
            }
            (folder / "settings.json").write_text(json.dumps(settings))
            for rank in run_ranks("tests.trainer.engines", folder / "settings.json", folder / "results.json"):
                assert rank.returncode == 0, rank.stdout[-3000:] + rank.stderr[-3000:]
    return json.loads((folder / "results.json").read_text())

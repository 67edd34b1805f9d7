import json
from pathlib import Path

import pytest

from tests.embedder.small_models import save_clip
from tests.trainer.examples import write_shard, write_tar
from tools.__main__ import main

KEYS = [f"{number:05d}" for number in range(12)]


@pytest.fixture(autouse=True, scope="package")
def own_cache(tmp_path_factory):
    """Shard indexes go to a folder of the tests; no hub is asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        yield


@pytest.fixture(scope="package")
def clip_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-clip"
    save_clip(folder)
    return folder


@pytest.fixture(scope="package")
def shards(tmp_path_factory) -> list[str]:
    """Two shards of six samples, with two captions each: ``short`` and ``long``."""
    folder = tmp_path_factory.mktemp("shards")
    return [write_shard(folder / f"{number}.tar", KEYS[6 * number : 6 * number + 6]) for number in range(2)]


@pytest.fixture(scope="package")
def embedded(tmp_path_factory, clip_folder, shards) -> Path:
    """A store with the vectors of both captions of all samples, as ``keyclip embed`` writes it; not to be changed."""
    path = tmp_path_factory.mktemp("stores") / "captions.store"
    embed(path, clip_folder, shards)
    return path


def embed(path: Path, model: Path, shards: list[str], *arguments: str) -> None:
    """``keyclip embed`` of both captions into fields ``clip/short`` and ``clip/long``."""
    argv = ["embed", "--store", str(path), "--model", str(model), "--field-prefix", "clip", "--device", "cpu"]
    argv += ["--progress", "False", "--caption-fields", "short", "long", "--shards", *shards, *arguments]
    assert main(argv) == 0


def shard_of(path: Path, samples: dict[str, object]) -> str:
    """A shard whose samples hold json alone."""
    return write_tar(path, [(f"{key}.json", json.dumps(values).encode()) for key, values in samples.items()])

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.embedder.small_models import save_clip


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-clip"
    save_clip(folder)
    return folder


@pytest.fixture
def make_shard(tmp_path: Path) -> Callable[..., str]:
    """``make_shard("00000", {"a": {"caption": "..."}})`` writes a shard with an image member for each json."""
    import io
    import json
    import tarfile

    def make(name: str, samples: dict[str, object], **members: dict[str, bytes]) -> str:
        path = tmp_path / f"{name}.tar"
        with tarfile.open(path, "w") as tar:
            for key, sample in samples.items():
                files = {"jpg": b"\xff\xd8 not decoded here", "json": json.dumps(sample).encode()}
                files |= {extension: values[key] for extension, values in members.items() if key in values}
                for extension, payload in files.items():
                    info = tarfile.TarInfo(f"{key}.{extension}")
                    info.size = len(payload)
                    tar.addfile(info, io.BytesIO(payload))
        return str(path)

    return make

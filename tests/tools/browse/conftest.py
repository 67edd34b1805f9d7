import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

import store
from tests.embedder.service.client import Client
from tests.tools.query.conftest import clip_folder, embed, own_cache  # noqa: F401
from tests.trainer.examples import sample_members, write_tar
from tools.browse.app import create_app
from tools.browse.library import Library

HOSTILE_KEY = 'dogs & "cats"/50%<b>'
HOSTILE_CAPTION = '<script>document.title="taken"</script><img src=x onerror="document.title=1"> & a dog'
KEYS = [f"{number:05d}" for number in range(30)]


@contextlib.contextmanager
def browsing(path: Path, **settings: Any) -> Iterator[Client]:
    """The pages of a store, from a real server in a thread."""
    app = create_app(Library(str(path), device="cpu", **settings), "127.0.0.1")
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=1))
    sock = server.config.bind_socket()
    sock.listen()  # early clients wait until the thread has started
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    try:
        yield Client(f"http://127.0.0.1:{sock.getsockname()[1]}")
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope="package")
def shard(tmp_path_factory) -> str:
    """Samples of all keys; of the last one the caption is hostile, and so is its key."""
    members = [member for key in KEYS for member in sample_members(key)]
    members += sample_members(HOSTILE_KEY.replace("/", "-"), {"short": HOSTILE_CAPTION, "long": "harmless"})
    return write_tar(tmp_path_factory.mktemp("shards") / "0.tar", members)


@pytest.fixture(scope="package")
def store_path(tmp_path_factory, clip_folder, shard) -> Path:  # noqa: F811
    """Both captions embedded; then one vector of ``clip/long`` is of another caption, and one sample has none."""
    path = tmp_path_factory.mktemp("stores") / "captions.store"
    embed(path, clip_folder, [shard])
    opened = store.open(path, mode="a")
    field = opened.field("clip/long")
    keys = [key for key in field.read_block(field.blocks()[0])[0] if key != KEYS[1]]
    vectors, hashes = field.get(keys, dtype="float32"), field.caption_hashes(keys)
    hashes[keys.index(KEYS[2])] = store.caption_hash("an older caption")
    opened.drop_field("clip/long")
    opened.writer("clip/long", field.spec).commit("b", [*keys[:-1], "no sample"], vectors, hashes)
    return path


@pytest.fixture(scope="package")
def browse(store_path, shard, clip_folder) -> Iterator[Client]:  # noqa: F811
    with browsing(store_path, shards=[shard], models=[str(clip_folder)], max_bytes=10**9) as client:
        yield client

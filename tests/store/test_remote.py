"""Zarr stores on object storage: a real server that speaks S3, started for these tests."""

import multiprocessing
import os
import socket
import subprocess
import sys
import time
import uuid

import fsspec
import numpy as np
import pytest

import store
from store.common import errors
from store.zarr_backend import chunks as chunks_module
from store.zarr_backend.remote import RemoteBucket
from tests.store.contract.processes import Processes
from tests.store.examples import DIM, make_block, make_spec

# The S3 client and its server use parts of Python that are on their way out.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def s3():
    """Environment variables of a running server, set for this process and its children."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        try:
            _wait_for(port)
            fsspec.filesystem("s3").mkdir("shelf")
            yield settings
        finally:
            server.terminate()
            server.wait(30)


def _wait_for(port):
    deadline = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.05)


@pytest.fixture
def url(s3):
    return f"s3://shelf/{uuid.uuid4().hex}/some.store"


@pytest.mark.slow
class TestS3Processes(Processes):
    """Forks, spawned processes, threads and several stores at once, as with any backend."""

    backend = "zarr"

    @pytest.fixture
    def path(self, url):
        return url


def write_block(url, block, queue):
    try:
        queue.put(store.open(url, mode="a").writer("f", make_spec()).commit(block, *make_block(block, 30)))
    except errors.KeyclipError as error:
        queue.put(repr(error))


def run_at_once(*arguments):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=write_block, args=(*each, queue)) for each in arguments]
    for process in processes:
        process.start()
    results = [queue.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(60)
    return results


def test_a_store_at_a_url_written_by_two_processes_is_read_back(url):
    assert store.create(url, backend="zarr").path == url
    assert run_at_once((url, "a"), (url, "b")) == [True, True]
    opened = store.open(url)
    field = opened.field("f")
    for block in "ab":
        keys, vectors, hashes = make_block(block, 30)
        np.testing.assert_array_equal(field.get(keys), vectors)
        np.testing.assert_array_equal(field.caption_hashes(keys), hashes)
    assert opened.fields()["f"].num_vectors == 60
    assert opened.verify() == []


def test_of_two_processes_that_write_the_same_block_one_wins(url):
    store.create(url, backend="zarr")
    assert sorted(run_at_once((url, "a"), (url, "a"))) == [False, True]
    field = store.open(url).field("f")
    assert field.blocks() == ["a"]
    np.testing.assert_array_equal(field.get(make_block("a", 30)[0]), make_block("a", 30)[1])


def test_create_and_open_at_a_url_say_what_is_wrong(url):
    with pytest.raises(errors.StoreNotFoundError, match="there is no store at 's3://"):
        store.open(url)
    store.create(url, backend="zarr")
    with pytest.raises(errors.StoreExistsError, match="exists already"):
        store.create(url, backend="zarr")
    with pytest.raises(errors.ConfigError, match="an LMDB store must be on a local disk"):
        store.create(url)
    with pytest.raises(errors.FieldNotFoundError, match="has no fields yet"):
        store.open(url).field("f")


def test_readers_see_blocks_that_come_and_go(url):
    written = store.create(url, backend="zarr")
    writer = written.writer("f", make_spec())
    field = store.open(url).field("f")
    assert "a/0" not in field
    writer.commit("a", *make_block("a", 3))
    assert "a/0" in field
    writer.commit("b", *make_block("b", 3))
    assert field.get(["b/2", "a/1"]).tolist() == [make_block("b", 3)[1][2].tolist(), make_block("a", 3)[1][1].tolist()]
    written.drop_blocks("f", ["a"])
    assert field.blocks() == ["b"]
    written.drop_field("f")
    with pytest.raises(errors.FieldNotFoundError):
        store.open(url).field("f")
    with pytest.raises(errors.FieldNotFoundError, match="was dropped"):
        writer.commit("c", *make_block("c", 3))
    assert fsspec.filesystem("s3").find(url + "/fields/f") == []


def test_damage_on_the_server_is_found_and_mended(url):
    written = store.create(url, backend="zarr")
    writer = written.writer("f", make_spec())
    for name in "ab":
        writer.commit(name, *make_block(name, 3))
    storage = fsspec.filesystem("s3", use_listings_cache=False)
    wanted = make_block("a", 3)[1].tobytes()
    (place,) = [path for path in storage.find(url) if wanted in storage.cat_file(path)]
    data = bytearray(storage.cat_file(place))
    data[5] ^= 4
    storage.pipe_file(place, bytes(data))
    with pytest.raises(errors.DamagedBlockError, match="block 'a'"):
        store.open(url).field("f").get(["b/0", "a/0"])
    assert [damage.block for damage in written.verify()] == ["a"]
    assert [damage.block for damage in written.repair()] == ["a"]
    assert written.verify() == []
    assert writer.commit("a", *make_block("a", 3)) is True


def test_chunks_are_fetched_once_and_the_cache_is_bounded(url, monkeypatch):
    written = store.create(url, backend="zarr")
    writer = written.writer("f", make_spec())
    for name in "abcd":
        writer.commit(name, *make_block(name, 50))
    fetched = []
    read = RemoteBucket.read
    monkeypatch.setattr(RemoteBucket, "read", lambda self, keys: fetched.extend(keys) or read(self, keys))
    field = store.open(url).field("f")
    keys = [f"{name}/{i}" for i in range(50) for name in "abcd"]
    fetched.clear()
    field.get(keys)
    assert sum("vectors/c" in key for key in fetched) == 4
    fetched.clear()
    field.get(keys)
    assert fetched == []
    monkeypatch.setattr(chunks_module, "CACHE_BYTES", 2 * 50 * DIM * 2)
    np.testing.assert_array_equal(store.open(url).field("f").get(keys), field.get(keys))
    small = store.open(url).field("f")
    for name in "abcdab":
        small.get([f"{name}/0"])
    assert sum("vectors/c" in key for key in fetched) == 4 + 6


def test_opening_lists_a_block_once_and_never_its_arrays(url):
    written = store.create(url, backend="zarr")
    for name in "fg":
        writer = written.writer(name, make_spec(dtype="int8"))
        for block in "abc":
            writer.commit(block, *make_block(block, 50))
    assert len(fsspec.filesystem("s3").find(url)) > 60
    listed = []

    def note(parsed, **_):
        listed.append([each["Key"] for each in parsed.get("Contents", [])] + parsed.get("CommonPrefixes", []))

    filesystem = fsspec.filesystem("s3", use_listings_cache=False)
    events = filesystem.s3.meta.events
    events.register("after-call.s3.ListObjectsV2", note)
    try:
        opened = store.open(url)
        assert listed == []
        assert [info.num_vectors for info in opened.fields().values()] == [150, 150]
        assert [len(answer) for answer in listed] == [
            3,
            4,
            4,
        ]  # two fields; three blocks each; and their group's document
        listed.clear()
        opened.field("f").get(["a/1"])
        assert [len(answer) for answer in listed] == [4]
        listed.clear()
        with pytest.raises(errors.FieldNotFoundError, match="there are 'f', 'g'"):
            opened.field("h")
        assert [len(answer) for answer in listed] == [3]
    finally:
        events.unregister("after-call.s3.ListObjectsV2", note)


def test_a_storage_that_does_not_answer_is_one_sentence(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # no server listens there
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(fsspec.get_filesystem_class("s3"), "retries", 1)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(errors.StorageError, match=r"the storage of 's3://shelf/x.store' failed: .* credentials"):
        store.open("s3://shelf/x.store")
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_a_bucket_that_is_not_there_is_one_sentence(s3):
    with pytest.raises(errors.StoreNotFoundError, match="there is no store at 's3:"):
        store.open("s3://nobody/x.store")
    with pytest.raises(errors.StorageError, match=r"storage of 's3://nobody/x.store' failed: .*bucket does not exist"):
        store.create("s3://nobody/x.store", backend="zarr")


def test_a_kind_of_storage_that_is_not_installed_is_one_sentence():
    with pytest.raises(errors.ConfigError, match=r"'nowhere://x' cannot be opened: Protocol not known"):
        store.open("nowhere://x")


def test_a_store_holds_no_credentials(url, s3):
    store.create(url, backend="zarr").writer("f", make_spec()).commit("a", *make_block("a", 3))
    storage = fsspec.filesystem("s3")
    for path in storage.find(url):
        assert s3["AWS_SECRET_ACCESS_KEY"].encode() not in storage.cat_file(path)
    assert os.environ["AWS_ACCESS_KEY_ID"] not in repr(store.open(url).__dict__)

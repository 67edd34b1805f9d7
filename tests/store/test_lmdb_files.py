"""An LMDB store and its files: growing, filling the disk, cut short, and read with few rights."""

import gc
import os
import resource
import shutil
import subprocess
from pathlib import Path

import pytest

import store
from store.common import errors
from store.lmdb_backend import environment as environment_module
from store.lmdb_backend import layout
from store.lmdb_backend.registry import environment
from tests.store.examples import assert_holds, fill, in_child, make_block, make_spec


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.store"


def test_the_map_grows_by_itself_in_writers_and_in_readers_beside_them(path, monkeypatch):
    monkeypatch.setattr(environment_module, "RESERVED_BYTES", 2**18)
    writer = store.create(path).writer("f", make_spec(dim=1024))
    field = store.open(path).field("f")
    for i in range(8):
        writer.commit(f"b{i}", *make_block(f"b{i}", 40, dim=1024))
        assert_holds(field, i + 1)


def test_a_reader_follows_a_map_that_another_process_has_grown(path, monkeypatch):
    monkeypatch.setattr(environment_module, "RESERVED_BYTES", 2**18)
    field = fill(path, blocks=1, dim=1024).field("f")
    assert_holds(field, 1)
    assert in_child(_commit_blocks, str(path), range(1, 30)) is True
    assert_holds(field, 30)


def _commit_blocks(path, numbers):
    writer = store.open(path, mode="a").writer("f", make_spec(dim=1024))
    return all(writer.commit(f"b{i}", *make_block(f"b{i}", 40, dim=1024)) for i in numbers)


def test_a_full_disk_is_a_clear_error_and_leaves_the_store_intact(path):
    fill(path, blocks=1, dim=1024)
    failure, blocks = in_child(_commit_until_full, str(path), 4 * 2**20)
    assert "StoreFullError" in failure
    assert "no space left" in failure
    assert blocks > 3
    reopened = store.open(path, mode="a")
    assert_holds(reopened.field("f"), blocks)
    assert reopened.verify() == []
    assert reopened.writer("f", make_spec(dim=1024)).commit(f"b{blocks}", *make_block(f"b{blocks}", 40, dim=1024))
    assert_holds(store.open(path).field("f"), blocks + 1)


def _commit_until_full(path, limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    opened = store.open(path, mode="a")
    writer = opened.writer("f", make_spec(dim=1024))
    for i in range(1, 1000):
        try:
            writer.commit(f"b{i}", *make_block(f"b{i}", 40, dim=1024))
        except errors.StoreFullError as error:
            assert_holds(opened.field("f"), i)
            return repr(error), i
    return "never full", 1000


def test_a_write_that_was_cut_short_at_the_end_of_the_file_is_passed_over(path):
    fill(path)
    with (path / "fields" / "f" / "data.mdb").open("ab") as file:
        file.write(bytes(1000))
    reopened = store.open(path, mode="a")
    assert_holds(reopened.field("f"), 3)
    assert reopened.verify() == []
    reopened.writer("f", make_spec()).commit("b3", *make_block("b3", 40))
    assert_holds(reopened.field("f"), 4)


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("kept", [0.1, 0.3, 0.5, 0.9, 0.999])
def test_a_file_that_lost_its_end_is_damage_and_no_crash(path, kept, check):
    assert in_child(_read_cut_short, str(path), kept, check) in ("DamagedBlockError", "DamagedFieldError")


def _read_cut_short(path, kept, check):
    fill(Path(path), blocks=6, count=400, dim=64)
    file = Path(path, "fields", "f", "data.mdb")
    with file.open("r+b") as stream:
        stream.truncate(int(file.stat().st_size * kept) // 4096 * 4096)
    try:
        store.open(path, check=check).field("f").get([f"b{i}/{j}" for i in range(6) for j in range(400)])
    except errors.DamagedBlockError as error:
        assert store.open(path).verify()
        return type(error).__name__
    return "read"


def put_and_delete(folder):
    """In one transaction, so that LMDB takes pages at the file's end and never writes them."""
    env = environment(folder)
    meta = env.database(layout.META)
    env.write(lambda transaction: transaction.put(b"x", bytes(10**6), db=meta) and transaction.delete(b"x", db=meta))
    assert (folder / "data.mdb").stat().st_size < (env.handle.info()["last_pgno"] + 1) * env.page_bytes


def test_a_file_that_lacks_only_pages_that_lmdb_gave_up_is_whole(path):
    opened = fill(path)
    put_and_delete(path / "fields" / "f")
    assert_holds(store.open(path).field("f"), 3)
    assert opened.verify() == []


def test_little_address_space_suffices(path):
    fill(path)
    assert in_child(_read_within, str(path), 2**32) == make_block("b1", 3)[1].tolist()


def _read_within(path, limit):
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return store.open(path).field("f").get(make_block("b1", 3)[0]).tolist()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
class TestOthersRights:
    """Root may write anything, so these read as another user, who may not see Python's own files: hence forks."""

    @pytest.fixture
    def path(self):
        folder = Path("/tmp") / f"keyclip-rights-{os.getpid()}"
        folder.mkdir(mode=0o755)
        yield folder / "some.store"
        shutil.rmtree(folder)

    def test_who_may_only_read_can_read_and_is_refused_to_write(self, path):
        fill(path)
        assert in_child(_read_as_nobody, str(path), method="fork") == make_block("b1", 3)[1].tolist()
        assert "ReadOnlyError" in in_child(_write_as_nobody, str(path), method="fork")

    def test_a_frozen_store_is_read_without_locks(self, path):
        fill(path)
        for file in path.rglob("*"):
            file.chmod(0o555 if file.is_dir() else 0o444)
        assert in_child(_read_as_nobody, str(path), method="fork") == make_block("b1", 3)[1].tolist()

    def test_a_reader_who_cannot_register_beside_writers_is_refused_with_the_remedy(self, path):
        fill(path)
        (path / "fields" / "f" / "lock.mdb").chmod(0o644)
        assert "chmod a+w" in in_child(_read_as_nobody, str(path), method="fork")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
def test_a_store_on_read_only_media_is_read_and_refuses_writers(path, tmp_path):
    fill(path)
    (path / "fields" / "f" / "lock.mdb").unlink()
    media = tmp_path / "media"
    media.mkdir()
    commands = (["mount", "--bind", path, media], ["mount", "-o", "remount,ro,bind", media])
    if any(subprocess.run(command, check=False, capture_output=True).returncode for command in commands):
        pytest.skip("mounting is not allowed here")
    try:
        mounted = store.open(media, mode="a")
        assert_holds(mounted.field("f"), 3)
        assert mounted.verify() == []
        with pytest.raises(errors.ReadOnlyError, match="cannot be written"):
            mounted.writer("f", make_spec()).commit("x", *make_block("x", 3))
        with pytest.raises(OSError, match="Read-only file system"):
            mounted.writer("g", make_spec())
        del mounted
        gc.collect()
    finally:
        subprocess.run(["umount", media], check=True)


def _read_as_nobody(path):
    os.setuid(65534)
    return store.open(path).field("f").get(make_block("b1", 3)[0]).tolist()


def _write_as_nobody(path):
    os.setuid(65534)
    return store.open(path, mode="a").writer("f", make_spec()).commit("x", *make_block("x", 3))

"""Outputs are claimed before the work: what must not be replaced is refused, and nothing half-made stays."""

import errno
import os
import shutil
import stat
import subprocess

import pytest

from store.common.errors import ConfigError, OutputExistsError, StoreFullError
from store.common.outputs import KEY_LIST, PARQUET, Kind, Outputs

REPORT = Kind(name="a report", start=b"<html>", replaced=b"<html>ours")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write(place, kind=KEY_LIST, text="new\n", **options):
    with Outputs(**options) as outputs:
        outputs.write(outputs.claim(place, kind), text)


def test_a_new_file_appears_whole_with_usual_rights_and_its_folders(tmp_path):
    write(tmp_path / "a" / "b" / "keys.txt")
    assert (tmp_path / "a" / "b" / "keys.txt").read_text() == "new\n"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a" / "b" / "keys.txt").stat().st_mode) == 0o666 & ~mask
    assert names(tmp_path / "a" / "b") == ["keys.txt"]


def test_an_error_leaves_neither_files_nor_folders(tmp_path):
    with pytest.raises(TypeError):
        write(tmp_path / "a" / "b" / "keys.txt", text=3)
    assert names(tmp_path) == []


def test_a_file_that_is_there_is_replaced_only_if_asked(tmp_path):
    (tmp_path / "keys.txt").write_text("old\n")
    with pytest.raises(OutputExistsError, match=r"keys.txt' exists; give another path, or replace it by --overwrite"):
        write(tmp_path / "keys.txt")
    assert (tmp_path / "keys.txt").read_text() == "old\n"
    write(tmp_path / "keys.txt", overwrite=True)
    assert (tmp_path / "keys.txt").read_text() == "new\n"


@pytest.mark.parametrize("content", [b"PAR1 table", b"\xff\xfe\0\0", b"ustar\0"])
def test_a_file_of_another_kind_is_never_replaced(tmp_path, content):
    (tmp_path / "keys.txt").write_bytes(content)
    kind = Kind(name="an npy file", start=b"\x93NUMPY") if content.startswith(b"PAR1") else PARQUET
    with pytest.raises(OutputExistsError, match=r"exists and is not .*--overwrite replaces none but such a file"):
        write(tmp_path / "keys.txt", kind, overwrite=True)
    assert (tmp_path / "keys.txt").read_bytes() == content


@pytest.mark.parametrize("named", ["keys.txt", "./keys.txt", "link", "hard"])
def test_an_input_is_never_replaced_whatever_it_is_called(tmp_path, named, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys.txt").write_text("a\n")
    (tmp_path / "link").symlink_to("keys.txt")
    (tmp_path / "hard").hardlink_to(tmp_path / "keys.txt")
    with pytest.raises(OutputExistsError, match="is an input of the same command"):
        write(tmp_path / named, inputs=["keys.txt", None, "https://example.org/x.tar", "some/model"], overwrite=True)
    assert (tmp_path / "keys.txt").read_text() == "a\n"


def test_a_file_in_an_input_folder_is_never_replaced_by_text_and_a_new_one_may_be_written(tmp_path):
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "vocab.txt").write_text("the\n")
    with pytest.raises(OutputExistsError, match="is an input of the same command"):
        write(tmp_path / "clip" / "vocab.txt", inputs=[tmp_path / "clip"], overwrite=True)
    write(tmp_path / "clip" / "keys.txt", inputs=[tmp_path / "clip"])


def test_a_report_is_replaced_unasked_by_a_report_alone(tmp_path):
    (tmp_path / "r").write_text("<html>ours, old")
    write(tmp_path / "r", REPORT, "<html>ours, new")
    assert (tmp_path / "r").read_text() == "<html>ours, new"
    (tmp_path / "r").write_text("<html>theirs")
    with pytest.raises(OutputExistsError, match="exists"):
        write(tmp_path / "r", REPORT)
    write(tmp_path / "r", REPORT, overwrite=True)


def device(folder):
    try:
        os.mknod(folder / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except OSError:
        pytest.skip("making a device needs more rights")
    return folder / "null"


@pytest.mark.parametrize("make", ["folder", "pipe", "device", "loop", "nul"])
def test_what_is_no_file_is_refused_and_stays(tmp_path, make):
    place = tmp_path / make
    if make == "folder":
        place.mkdir()
    elif make == "pipe":
        os.mkfifo(place)
    elif make == "device":
        place = device(tmp_path)
    elif make == "loop":
        place.symlink_to(place)
    else:
        place = tmp_path / "a\0b"
    before = names(tmp_path)
    with pytest.raises(ConfigError, match=r"give the path of a file|cannot be written"):
        write(place, overwrite=True)
    assert names(tmp_path) == before
    if make == "device":
        assert stat.S_ISCHR(place.stat().st_mode)


def test_two_outputs_cannot_have_one_place(tmp_path):
    (tmp_path / "b").symlink_to("a")
    with Outputs() as outputs:
        outputs.claim(tmp_path / "a", KEY_LIST)
        with pytest.raises(ConfigError, match="two outputs would be written"):
            outputs.claim(tmp_path / "b", KEY_LIST)
    assert names(tmp_path) == ["a", "b"]


def write_while_another_does(place):
    with Outputs() as outputs:
        outputs.write(outputs.claim(place, KEY_LIST), "mine")
        place.write_text("theirs")


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    with pytest.raises(OutputExistsError, match="has appeared"):
        write_while_another_does(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "theirs"
    assert names(tmp_path) == ["a"]


@pytest.fixture
def full_disk(tmp_path):
    """A folder on a file system of one page per file and no more."""
    place = tmp_path / "full"
    place.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mounting, check=False, capture_output=True).returncode:
        pytest.skip("a small file system can be mounted by root alone")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_told_by_the_claim(full_disk):
    (full_disk / "filler").write_bytes(bytes(120 * 1024))
    with pytest.raises(StoreFullError, match="no space left for"):
        write(full_disk / "a")
    assert names(full_disk) == ["filler"]


def test_a_disk_that_fills_up_is_told_at_the_end_and_the_older_file_stays(full_disk):
    (full_disk / "a").write_text("old\n")
    with pytest.raises(StoreFullError, match="no space left for"):
        write(full_disk / "a", text="x" * 200_000, overwrite=True)
    assert (full_disk / "a").read_text() == "old\n"
    assert names(full_disk) == ["a"]


def fill_up(place):
    with Outputs() as outputs:
        outputs.claim(place, KEY_LIST)
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_in_the_work_is_told_too(tmp_path):
    with pytest.raises(StoreFullError, match=r"no space left for '.*/a'"):
        fill_up(tmp_path / "a")
    assert names(tmp_path) == []

"""Tars whose headers say what cannot be: every reader says so, and none reads or waits for what is not there."""

import io
import shlex
import subprocess
import tarfile

import pytest

from store.common.errors import DamagedShardError, KeyclipError
from store.sources.shards import iter_samples
from tools.interop.tars import tar_samples
from tools.prepare.scanning import Finding, scan
from trainer.data.shard_index import index_shard

SIZES = {
    "negative in base 256": b"\xff" * 12,
    "larger than a file can be": b"\x80" + b"\x7f" * 11,
    "larger than an offset can be": b"\x80" + bytes(3) + b"\x7f" + b"\xff" * 7,
    "larger than any sample": b"\x80" + bytes(5) + b"\x80" + bytes(5),
    "larger than the file": b"00000100000\0",
    "64 GB": b"77777777777\0",
    "no number": b"0x10       \0",
}


def damaged(path, size=None, kind=None, headers=None):
    """A tar of samples a, b and c, in which the first member of b has an impossible header; returns its path."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for key in "abc":
            for extension in ("jpg", "json"):
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size = 2
                tar.addfile(info, io.BytesIO(b"{}"))
    data = bytearray(stream.getvalue())
    at = 4 * 512
    if headers is not None:
        info = tarfile.TarInfo("b.jpg")
        info.pax_headers = headers
        data[at:at] = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    else:
        data[at + 124 : at + 136] = size
        data[at + 156] = ord(kind or "0")
        data[at + 148 : at + 156] = b" " * 8
        data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    path.write_bytes(data)
    return str(path)


def readers(path, cache):
    """What reads tars, by name, and a command that sends one, which cannot be addressed."""
    return {
        "samples": lambda: list(iter_samples(path, ["jpg", "json"])),
        "samples of a stream": lambda: list(iter_samples(f"pipe:cat {shlex.quote(str(path))}", ["jpg", "json"])),
        "index": lambda: index_shard(path, cache),
        "vectors": lambda: tar_samples(path),
    }


@pytest.mark.parametrize("reader", ["samples", "samples of a stream", "index", "vectors"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["0", "x", "L"])
def test_an_impossible_size_is_a_damaged_shard(tmp_path, size, kind, reader):
    path = damaged(tmp_path / "s.tar", SIZES[size], kind)
    with pytest.raises(DamagedShardError, match=r"s.tar.* cannot be read as a"):
        readers(path, tmp_path / "cache")[reader]()


@pytest.mark.parametrize("size", SIZES)
def test_a_check_reports_the_impossible_size_and_keeps_the_samples_before(tmp_path, size):
    found = list(scan(damaged(tmp_path / "s.tar", SIZES[size]), [], decode_images=False))
    assert [each.kind for each in found if isinstance(each, Finding)] == ["damaged shard"]


@pytest.mark.parametrize(
    "headers",
    [
        {"size": "-1"},
        {"size": "9" * 25},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "b.jpg", "GNU.sparse.realsize": "1"},
        {"GNU.sparse.map": "x,y"},
        {"GNU.sparse.size": "x"},
    ],
)
@pytest.mark.parametrize("reader", ["samples", "samples of a stream", "index", "vectors"])
def test_impossible_extended_headers_are_one_sentence(tmp_path, headers, reader):
    path = damaged(tmp_path / "s.tar", headers=headers)
    with pytest.raises(KeyclipError):
        readers(path, tmp_path / "cache")[reader]()


@pytest.mark.parametrize("reader", ["samples", "index"])
def test_a_key_that_is_not_utf8_is_one_sentence(tmp_path, reader):
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("\udcff.jpg"))
    with pytest.raises(DamagedShardError, match="is not UTF-8 text; rename the sample"):
        readers(str(tmp_path / "s.tar"), tmp_path / "cache")[reader]()


def test_the_samples_of_a_sound_tar_are_read_as_tar_itself_reads_them(tmp_path):
    path = damaged(tmp_path / "s.tar", b"00000000002\0")
    listed = subprocess.run(["tar", "tf", path], capture_output=True, check=True, text=True).stdout.split()
    assert [f"{s.key}.{m.extension}" for s in tar_samples(path) for m in s.members.values()] == listed
    assert [key for key, _ in iter_samples(path, [])] == ["a", "b", "c"]

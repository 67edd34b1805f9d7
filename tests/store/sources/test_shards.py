"""Shards by pattern, their samples in order, and captions by path into the json."""

import gzip
import io
import json
import os
import shlex
import tarfile
from pathlib import Path

import pytest

from store.common.errors import CaptionFieldError, ConfigError, DamagedShardError, ShardNotFoundError
from store.sources.shards import (
    CheckedTarInfo,
    caption_at,
    expand_shards,
    is_remote,
    iter_samples,
    load_json,
    shard_name,
    split_member,
)


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> str:
    with tarfile.open(path, "w") as tar:
        for name, payload in members:
            info = tarfile.TarInfo(name)
            info.size = len(payload)
            tar.addfile(info, io.BytesIO(payload))
    return str(path)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Five empty files: 00000.tar ... 00003.tar and other.tar, in the working directory."""
    for name in ("00000", "00001", "00002", "00003", "other"):
        (tmp_path / f"{name}.tar").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["other.tar", "00001.tar"], "other 00001"),
        (["{00001..00003}.tar"], "00001 00002 00003"),
        (["{00002,00000}.tar"], "00002 00000"),
        (["0000*.tar"], "00000 00001 00002 00003"),
        (["0000[13].tar", "other.tar"], "00001 00003 other"),
        (["@list.txt"], "00003 00000 00001"),
    ],
)
def test_patterns_become_shards_in_the_order_given(folder, patterns, expected):
    (folder / "list.txt").write_text("00003.tar\n\n  {00000..00001}.tar  \n")
    assert expand_shards(patterns) == [f"{name}.tar" for name in expected.split()]


def test_a_file_whose_name_looks_like_a_glob_is_itself(folder):
    (folder / "odd[1].tar").touch()
    assert expand_shards(["odd[1].tar"]) == ["odd[1].tar"]


def test_remote_shards_are_expanded_but_not_looked_for():
    assert expand_shards(["https://example.org/{0..1}.tar"]) == [f"https://example.org/{i}.tar" for i in range(2)]
    assert expand_shards(["pipe:cat {a,b}.tar"]) == ["pipe:cat {a,b}.tar"]
    assert [is_remote(s) for s in ("pipe:cat a.tar", "s3://bucket/a.tar", "a.tar", "/data/a.tar")] == [True] * 2 + [
        False
    ] * 2


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ([], "no shards given"),
        (["none.tar"], r"no such shard: 'none\.tar'"),
        (["{00003..00004}.tar"], r"no such shard: '00004\.tar' \(from '\{00003\.\.00004\}\.tar'\)"),
        (["none*.tar"], r"no shard matches 'none\*\.tar'"),
        (["@none.txt"], r"no such list of shards: 'none\.txt'"),
        (["00001.tar", "0000*.tar"], r"shard '00001\.tar' is named more than once"),
        (["."], r"no such shard: '\.'"),
    ],
)
def test_shards_that_are_not_there_or_there_twice_are_refused(folder, patterns, message):
    with pytest.raises(ShardNotFoundError, match=message):
        expand_shards(patterns)


@pytest.mark.parametrize(
    ("shard", "name"),
    [
        ("/data/cc3m/00012.tar", "00012"),
        ("https://example.org/00012.tar?version=3", "00012"),
        ("pipe:curl -s https://example.org/00012.tar", "00012"),
        ("00012.v2.tar", "00012.v2"),
    ],
)
def test_a_shards_name_is_its_files_without_folder_and_extension(shard, name):
    assert shard_name(shard) == name


@pytest.mark.parametrize(
    ("member", "parts"),
    [
        ("000000003.jpg", ("000000003", "jpg")),
        ("000000003.JPG", ("000000003", "jpg")),
        ("./000000003.json", ("000000003", "json")),
        ("a.b/003.seg.png", ("a.b/003", "seg.png")),
        ("readme", None),
        (".hidden", None),
        ("a/._003.jpg", None),
        ("a.b/003", None),
    ],
)
def test_a_members_name_is_key_and_extension(member, parts):
    assert split_member(member) == parts


def test_samples_come_in_the_shards_order_with_the_members_asked_for(tmp_path):
    members = [("b.json", b"1"), ("b.jpg", b"2"), ("a.txt", b"3"), ("c.JSON", b"4"), ("c.txt", b"5")]
    shard = write_tar(tmp_path / "a.tar", members)
    assert list(iter_samples(shard, ["json", "txt"])) == [
        ("b", {"json": b"1"}),
        ("a", {"txt": b"3"}),
        ("c", {"json": b"4", "txt": b"5"}),
    ]
    assert list(iter_samples(shard, ["jpg"])) == [("b", {"jpg": b"2"}), ("a", {}), ("c", {})]


def test_a_shard_without_samples_gives_none(tmp_path):
    assert list(iter_samples(write_tar(tmp_path / "a.tar", [("readme", b"?")]), ["json"])) == []


def test_compressed_and_piped_shards_are_read_alike(tmp_path):
    plain = write_tar(tmp_path / "a.tar", [("a.json", b"1"), ("b.json", b"2")])
    packed = tmp_path / "a.tar.gz"
    packed.write_bytes(gzip.compress(Path(plain).read_bytes()))
    expected = [("a", {"json": b"1"}), ("b", {"json": b"2"})]
    assert list(iter_samples(str(packed), ["json"])) == expected
    assert list(iter_samples(f"pipe:cat {shlex.quote(plain)}", ["json"])) == expected


@pytest.mark.parametrize("names", [["a.json", "b.json", "a.txt"], ["a.json", "b.json", "a.json"]])
def test_a_key_that_comes_twice_is_refused(tmp_path, names):
    shard = write_tar(tmp_path / "x.tar", [(name, b"") for name in names])
    with pytest.raises(DamagedShardError, match="sample key 'a' comes twice in shard"):
        list(iter_samples(shard, ["json"]))


@pytest.mark.parametrize("wanted", [["json"], []])
@pytest.mark.parametrize("length", [0, 300, 512, 900, 1024, 1300, 1536, 1600, 2048])
def test_a_shard_that_is_cut_short_is_refused_wherever_the_cut_is(tmp_path, length, wanted):
    """Two members of one header and one block each: the end mark begins at byte 2048."""
    whole = Path(write_tar(tmp_path / "whole.tar", [("a.json", b"1" * 500), ("b.json", b"2" * 500)])).read_bytes()
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole[:length])
    with pytest.raises(DamagedShardError, match=r"cut\.tar.*download it again"):
        list(iter_samples(str(cut), wanted))


def test_a_pipe_that_breaks_off_is_noticed(tmp_path):
    whole = write_tar(tmp_path / "a.tar", [(f"{i}.json", b"x" * 500) for i in range(40)])
    with pytest.raises(DamagedShardError, match="cannot be read as a tar"):
        list(iter_samples(f"pipe:head -c 20480 {whole}", ["json"]))


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path):
    shard = write_tar(tmp_path / "a.tar", [("a.json", b"1"), ("b.json", b"2")])
    with Path(shard).open("r+b") as file:
        file.seek(1024 + 50)
        file.write(b"\xff" * 100)
    with pytest.raises(DamagedShardError, match="cannot be read as a tar"):
        list(iter_samples(shard, ["json"]))


def test_a_file_that_is_no_tar_is_refused(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"<html>" * 1000)
    with pytest.raises(DamagedShardError, match=r"a\.tar.*cannot be read as a tar"):
        list(iter_samples(str(tmp_path / "a.tar"), ["json"]))


def test_a_shard_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ShardNotFoundError, match=r"no such shard: .*none\.tar"):
        list(iter_samples(str(tmp_path / "none.tar"), ["json"]))


def test_a_json_member_is_an_object():
    assert load_json('{"caption": "écrit"}'.encode(), "a", "x.tar") == {"caption": "écrit"}


@pytest.mark.parametrize("payload", [b"", b"{", b"[1]", b'"text"', b"\xff\xfe", b"null", b"9" * 5000, b"[" * 10**5])
def test_a_json_member_that_is_no_object_is_refused_naming_sample_and_shard(payload):
    with pytest.raises(DamagedShardError, match=r"the json of sample 'a' in shard 'x\.tar'"):
        load_json(payload, "a", "x.tar")


SAMPLE = json.loads('{"caption": "one", "captions": ["two", null, " "], "deep": {"x": {"y": "three"}}, "n": 3}')


@pytest.mark.parametrize(
    ("path", "caption"),
    [
        ("caption", "one"),
        ("captions.0", "two"),
        ("deep.x.y", "three"),
        ("captions.1", None),
        ("captions.2", None),
    ],
)
def test_a_caption_stands_at_a_path_into_the_json(path, caption):
    assert caption_at(SAMPLE, path) == caption


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("title", r"no caption field 'title': 'title' is not there \(there are caption, captions, deep, n\)"),
        ("captions.3", r"no caption field 'captions\.3': '3' is not there \(a list of 3\)"),
        ("captions.-1", r"'-1' is not there \(a list of 3\)"),
        ("caption.0", r"'0' is not there \(only 'one'\)"),
        ("deep.z", r"'z' is not there \(there are x\)"),
        ("captions", "caption field 'captions' holds list, expected text"),
        ("n", "caption field 'n' holds int, expected text"),
    ],
)
def test_a_path_that_leads_to_no_text_is_refused_naming_what_is_there(path, message):
    with pytest.raises(CaptionFieldError, match=message):
        caption_at(SAMPLE, path)


def entries(path, **options):
    """Name, type, offsets and size of a tar's members."""
    with tarfile.open(path, "r:", **options) as tar:
        return [(info.name, info.type, info.offset, info.offset_data, info.size) for info in tar]


@pytest.mark.parametrize("layout", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_headers_are_understood_as_tarfile_understands_them(tmp_path, layout):
    """Short and long names, in folders, with accents, of files, folders and links."""
    with tarfile.open(tmp_path / "a.tar", "w", format=layout) as tar:
        for name in ("a.jpg", "b" * 100, "folder/" + "c" * 95, "d/" * 60 + "e.json", "né.txt", "empty", "-1.jpg"):
            info = tarfile.TarInfo(name)
            info.size = 0 if name == "empty" else 700
            tar.addfile(info, io.BytesIO(bytes(700)))
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"odd{kind!r}")
            info.type = kind
            tar.addfile(info)
    found = entries(tmp_path / "a.tar", tarinfo=CheckedTarInfo)
    assert len(found) == 10
    assert found == entries(tmp_path / "a.tar")


@pytest.mark.parametrize("place", [0, 50, 124, 130, 148, 150, 156, 257, 345, 400])
@pytest.mark.parametrize("flip", [0x01, 0x1D, 0x80, 0xFF])
def test_a_header_with_a_changed_byte_is_refused_as_tarfile_refuses_it(tmp_path, place, flip):
    shard = Path(write_tar(tmp_path / "a.tar", [("a.json", b"1"), ("b.json", b"2")]))
    header = bytearray(shard.read_bytes()[:512])
    header[place] ^= flip
    with pytest.raises(tarfile.TarError):
        CheckedTarInfo.frombuf(bytes(header), "utf-8", "strict")


@pytest.mark.parametrize(
    "pattern",
    [
        "{0..9999999999}.tar",
        "{0..999}" * 4,
        "{{0..9999},{0..9999}}{0..9999}.tar",
        "{a,b,c,d}" * 12,
        "{1..9" + "9" * 40 + "}",
    ],
)
def test_ranges_that_stand_for_enormous_numbers_are_refused_at_once(pattern):
    with pytest.raises((ConfigError, ShardNotFoundError), match=r"stands for more than 1,000,000|no such shard"):
        expand_shards([pattern])


@pytest.mark.parametrize("pattern", ["{a", "{" * 5000 + "}" * 5000, "a\0b.tar", "a" * 5000])
def test_patterns_that_make_no_sense_are_refused(pattern):
    with pytest.raises((ShardNotFoundError, ConfigError, OSError)):
        expand_shards([pattern])


def test_lists_that_name_themselves_are_refused(tmp_path):
    (tmp_path / "a").write_text(f"@{tmp_path}/b\n")
    (tmp_path / "b").write_text(f"@{tmp_path}/a\n")
    with pytest.raises(ConfigError, match="names itself"):
        expand_shards([f"@{tmp_path}/a"])


def test_a_list_that_is_a_pipe_or_no_text_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin").write_bytes(b"caf\xe9.tar")
    for name, message in (("pipe", "it is a pipe or a device"), ("latin", "is not UTF-8 text"), ("", "Is a directory")):
        with pytest.raises(ConfigError, match=message):
            expand_shards([f"@{tmp_path}/{name}"])


@pytest.mark.parametrize("line", ["pipe:touch {}", "{{pipe:touch {},x}}"])
def test_a_list_may_not_run_commands_unless_that_is_allowed(tmp_path, monkeypatch, line):
    monkeypatch.delenv("KEYCLIP_ALLOW_PIPE", raising=False)
    (tmp_path / "list").write_text(line.format(tmp_path / "made"))
    with pytest.raises(ConfigError, match="would run a shell command; give --allow-pipe if you trust the file"):
        expand_shards([f"@{tmp_path}/list"])
    assert not (tmp_path / "made").exists()
    monkeypatch.setenv("KEYCLIP_ALLOW_PIPE", "1")
    (tmp_path / "list").write_text("pipe:cat a.tar")
    assert expand_shards([f"@{tmp_path}/list"]) == ["pipe:cat a.tar"]

"""``keyclip data check``: every fault is found, named and told, and the good samples are listed."""

import io
import json
import shlex
import tarfile

from tests.tools.prepare.examples import contents, printed_json, read_lines
from tests.trainer.examples import encoded, picture, sample_members, write_shard, write_tar
from tools.__main__ import main
from tools.prepare.scanning import KINDS


def check(*arguments: object) -> int:
    return main(["data", "check", "--workers", "0", *map(str, arguments)])


def found(capsys) -> dict[str, list[tuple[str | None, str]]]:
    """What ``--json`` tells: (key, words) by kind."""
    kinds: dict[str, list[tuple[str | None, str]]] = {}
    for finding in printed_json(capsys)["findings"]:
        kinds.setdefault(finding["kind"], []).append((finding["key"], finding["what"]))
    return kinds


JPEG = encoded(picture(1))
OK = b'{"short": "fine", "list": ["one", ""]}'


def test_a_good_download_has_no_findings_and_all_its_keys_are_listed(downloaded, tmp_path, capsys):
    assert (
        check("--shards", *downloaded.shards, "--caption-fields", "caption", ".txt", "--good-keys", tmp_path / "g") == 0
    )
    assert read_lines(tmp_path / "g") == downloaded.keys
    count = len(downloaded.keys)
    assert capsys.readouterr().out == f"{count} of {count} samples in 3 shards are good: {tmp_path / 'g'}\n"


def test_every_kind_of_fault_of_a_sample_is_found(tmp_path, capsys):
    members = [
        ("good.jpg", JPEG), ("good.json", OK), ("good.txt", b"text"),
        ("cut.jpg", JPEG[:200]), ("cut.json", OK), ("cut.txt", b"text"),
        ("html.jpg", b"<html>404</html>"), ("html.json", OK), ("html.txt", b"text"),
        ("no-image.json", OK), ("no-image.txt", b"text"),
        ("no-json.jpg", JPEG), ("no-json.txt", b"text"),
        ("bad-json.jpg", JPEG), ("bad-json.json", b'{"short": "caf\xe9"}'), ("bad-json.txt", b"text"),
        ("no-caption.jpg", JPEG), ("no-caption.json", b'{"short": 3}'), ("no-caption.txt", b"text"),
        ("empty.jpg", JPEG), ("empty.json", b'{"short": " "}'), ("empty.txt", b" \n"),
    ]  # fmt: skip
    shard = write_tar(tmp_path / "s.tar", members)
    arguments = ["--shards", shard, "--caption-fields", "short", ".txt", "--good-keys", tmp_path / "g"]
    assert check(*arguments, "--json", "True") == 1
    kinds = found(capsys)
    keys = {kind: [key for key, _ in told] for kind, told in kinds.items()}
    assert keys == {
        "broken image": ["cut", "html"],
        "no image": ["no-image"],
        "no json": ["no-json"],
        "broken json": ["bad-json"],
        "missing caption": ["no-caption"],
        "empty caption": ["empty", "empty"],
    }
    assert kinds["no image"][0][1] == "there is json, txt, none of jpg, jpeg, png, webp"
    assert kinds["missing caption"][0][1] == "caption field 'short' holds int, expected text"
    assert read_lines(tmp_path / "g") == ["good"]


def test_keys_that_come_twice_are_found_within_and_across_shards(tmp_path, capsys):
    first = write_tar(tmp_path / "0.tar", [m for key in ("a", "b", "c", "a") for m in sample_members(key)])
    second = write_shard(tmp_path / "1.tar", ["d", "b"])
    third = write_shard(tmp_path / "2.tar", ["b", "e"])
    assert check("--shards", first, second, third, "--good-keys", tmp_path / "g", "--json", "True") == 1
    report = printed_json(capsys)
    assert [(f["kind"], f["key"], f["shard"]) for f in report["findings"]] == [
        ("repeated key", "a", first),
        ("key in several shards", "b", second),
    ]
    assert report["findings"][1]["what"] == f"also in {first}, {third}"
    assert report["num_findings"] == {"repeated key": 1, "key in several shards": 1}
    assert (report["num_samples"], report["num_good"]) == (7, 3)
    assert read_lines(tmp_path / "g") == ["c", "d", "e"]


def test_a_shard_that_is_cut_short_keeps_its_whole_samples(tmp_path, capsys):
    whole = write_shard(tmp_path / "0.tar", ["a", "b", "c"])
    with tarfile.open(whole) as tar:
        middle = tar.getmember("c.jpg").offset_data + 40
    cut = tmp_path / "cut.tar"
    cut.write_bytes((tmp_path / "0.tar").read_bytes()[:middle])
    assert check("--shards", cut, "--good-keys", tmp_path / "g", "--json", "True") == 1
    [(key, what)] = found(capsys)["damaged shard"]
    assert key is None
    assert "download it again" in what
    assert read_lines(tmp_path / "g") == ["a", "b"]


def test_files_that_are_no_tars_and_empty_ones_are_damaged_shards(tmp_path, capsys):
    for name, content in (("a.tar", b"<html>" * 500), ("b.tar", b"")):
        (tmp_path / name).write_bytes(content)
    assert (
        check("--shards", tmp_path / "a.tar", tmp_path / "b.tar", "--good-keys", tmp_path / "g", "--json", "True") == 1
    )
    assert len(found(capsys)["damaged shard"]) == 2
    assert read_lines(tmp_path / "g") == []


def test_members_with_unsafe_names_are_reported_and_nothing_is_unpacked(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    shard = tmp_path / "in" / "s.tar"
    with tarfile.open(shard, "w") as tar:
        for name in ("../evil.jpg", "/etc/evil.jpg", "a/../../evil.jpg", "good.jpg"):
            info = tarfile.TarInfo(name)
            info.size = len(JPEG)
            tar.addfile(info, io.BytesIO(JPEG))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    before = contents(tmp_path)
    assert check("--shards", shard, "--good-keys", tmp_path / "g", "--json", "True") == 1
    told = [what for _, what in found(capsys)["unsafe member"]]
    assert [what.split(" ")[0] for what in told] == [
        "'../evil.jpg'",
        "'/etc/evil.jpg'",
        "'a/../../evil.jpg'",
        "'link.jpg'",
    ]
    assert read_lines(tmp_path / "g") == ["good"]
    assert contents(tmp_path) == before | {"g": b"good\n"}


def test_a_key_that_cannot_stand_in_a_list_is_reported(tmp_path, capsys):
    shard = write_tar(tmp_path / "s.tar", [("two\nlines.jpg", JPEG), (" spaced.jpg", JPEG), ("écrit.jpg", JPEG)])
    assert check("--shards", shard, "--good-keys", tmp_path / "g", "--json", "True") == 1
    assert [key for key, _ in found(capsys)["bad key"]] == ["two\nlines", " spaced"]
    assert read_lines(tmp_path / "g") == ["écrit"]


def test_without_decoding_broken_images_pass(tmp_path):
    shard = write_tar(tmp_path / "s.tar", [("a.jpg", b"no image"), ("a.json", OK)])
    assert check("--shards", shard, "--good-keys", tmp_path / "g", "--decode", "False") == 0
    assert read_lines(tmp_path / "g") == ["a"]


def test_of_many_findings_ten_are_printed_and_all_are_written(tmp_path, capsys):
    shard = write_tar(tmp_path / "s.tar", [(f"{i:02d}.jpg", b"no image") for i in range(12)])
    assert check("--shards", shard, "--good-keys", tmp_path / "g", "--findings", tmp_path / "f.jsonl") == 1
    out = capsys.readouterr().out.splitlines()
    assert sum(line.startswith(f"broken image: {shard}: sample") for line in out) == 10
    assert f"12 x broken image: {KINDS['broken image']} (10 shown)" in out
    written = [json.loads(line) for line in read_lines(tmp_path / "f.jsonl")]
    assert [finding["key"] for finding in written] == [f"{i:02d}" for i in range(12)]
    assert {finding["shard"] for finding in written} == {shard}


def test_several_processes_find_the_same(downloaded, tmp_path):
    broken = write_tar(tmp_path / "9.tar", [("a.jpg", b"no image")])
    for workers in (0, 2):
        arguments = ["--shards", *downloaded.shards, broken, "--good-keys", tmp_path / f"g{workers}"]
        assert main(["data", "check", *map(str, arguments), "--workers", str(workers)]) == 1
    assert read_lines(tmp_path / "g0") == read_lines(tmp_path / "g2") == downloaded.keys


def test_a_pipe_is_checked_like_a_file(downloaded, tmp_path):
    assert check("--shards", f"pipe:cat {shlex.quote(str(downloaded.shards[0]))}", "--good-keys", tmp_path / "g") == 0
    assert read_lines(tmp_path / "g") == [key for key in downloaded.keys if key.startswith("00000")]


def test_outputs_in_one_place_are_refused(tmp_path, capsys):
    assert check("--shards", "s.tar", "--good-keys", tmp_path / "g", "--findings", tmp_path / "g") == 1
    assert "give each its own file" in capsys.readouterr().err

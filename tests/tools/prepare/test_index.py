"""``keyclip data index``: what stands in shards, as numbers and as a table."""

from tests.tools.prepare.examples import printed_json, read_parquet
from tests.trainer.examples import encoded, picture, write_tar
from tools.__main__ import main

JPEG = encoded(picture(1))
ONE = b'{"short_caption": "four", "captions": ["one", null], "width": 24, "height": 20}'
TWO = b'{"short_caption": "", "width": "wide", "height": 99999999999999999999}'


def index(*arguments: object) -> int:
    return main(["data", "index", "--workers", "0", *map(str, arguments)])


def test_a_row_per_sample_tells_sizes_and_captions(tmp_path, capsys):
    members = [("b.jpg", JPEG), ("b.json", ONE), ("a.PNG", b"12345"), ("a.json", TWO), ("c.txt", b"text")]
    shard = write_tar(tmp_path / "00000.tar", members)
    (tmp_path / "00000_stats.json").write_text('{"count": 5, "successes": 3}')
    assert index("--shards", shard, "--output", tmp_path / "index.parquet", "--json", "True") == 0
    report = printed_json(capsys)
    captions = {"short_caption": 1, "captions.0": 1, "captions.1": 0}
    total = {
        "num_samples": 3, "num_with_image": 2, "image_bytes": len(JPEG) + 5, "json_bytes": len(ONE) + len(TWO),
        "num_tried": 5, "num_with_caption": captions,
    }  # fmt: skip
    assert report["total"] == {"shard": "1 shards", **total}
    assert report["shards"] == [{"shard": shard, **total}]
    columns = ["shard", "key", "image", "image_bytes", "json_bytes", "width", "height", *captions]
    rows = [
        [shard, "b", "jpg", len(JPEG), len(ONE), 24, 20, 4, 3, 0],
        [shard, "a", "png", 5, len(TWO), None, None, 0, 0, 0],
        [shard, "c", None, 0, 0, None, None, 0, 0, 0],
    ]
    assert read_parquet(tmp_path / "index.parquet") == [dict(zip(columns, row, strict=True)) for row in rows]


def test_the_lines_tell_coverage_per_shard_and_in_all(downloaded, capsys):
    assert index("--shards", *downloaded.shards, "--caption-fields", "caption", "none") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    count = len(downloaded.keys)
    assert lines[-1].startswith(f"3 shards: {count} samples of 60 tried, ")
    assert lines[-1].endswith(f" of images, caption {count}, none 0")


def test_several_processes_tell_the_same(downloaded, tmp_path):
    for workers in (0, 2):
        arguments = ["--shards", *downloaded.shards, "--output", str(tmp_path / f"{workers}.parquet")]
        assert main(["data", "index", *arguments, "--workers", str(workers)]) == 0
    rows = read_parquet(tmp_path / "2.parquet")
    assert rows == read_parquet(tmp_path / "0.parquet")
    assert [row["key"] for row in rows] == downloaded.keys


def test_a_damaged_shard_is_one_sentence_and_leaves_no_table(downloaded, tmp_path, capsys):
    cut = tmp_path / "cut.tar"
    with open(downloaded.shards[0], "rb") as file:  # noqa: PTH123
        cut.write_bytes(file.read(3000))
    assert index("--shards", cut, "--output", tmp_path / "index.parquet") == 1
    error = capsys.readouterr().err
    assert "`keyclip data check` lists all faults" in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["cut.tar"]

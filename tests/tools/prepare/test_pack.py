"""``keyclip data pack``: a folder or table of images becomes shards that the other commands read."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from store.sources.shards import iter_samples
from tests.tools.prepare.examples import contents, printed_json, write_csv
from tools.__main__ import main
from trainer.data.samples import ShardSamples


def pack(*arguments: object) -> int:
    return main(["data", "pack", *map(str, arguments)])


@pytest.fixture
def photos(tmp_path):
    """Five images: two with text captions, one with json, one with none, one in a folder below."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(["a.jpg", "b.PNG", "c.jpeg", "d.jpg", "more/e.webp"]):
        Image.fromarray(np.full((8, 8, 3), 40 * number, np.uint8)).save(folder / name)
    (folder / "a.txt").write_text("a dark square\n\nanother caption\n", encoding="utf-8")
    (folder / "b.txt").write_bytes(b"\xef\xbb\xbfein graues Quadrat\n")
    (folder / "c.json").write_text('{"short": "grey", "tags": ["x"]}')
    (folder / "more" / "e.txt").write_text("light")
    return folder


def read(shard):
    return [(key, dict(members)) for key, members in iter_samples(str(shard), ["jpg", "png", "jpeg", "webp", "json"])]


def test_a_folder_becomes_shards_of_untouched_images_and_their_captions(photos, tmp_path, capsys):
    output = tmp_path / "shards"
    assert pack("--folder", photos, "--output", output, "--samples-per-shard", 2) == 0
    assert sorted(path.name for path in output.glob("*.tar")) == ["00000.tar", "00001.tar", "00002.tar"]
    samples = [sample for shard in sorted(output.glob("*.tar")) for sample in read(shard)]
    assert [key for key, _ in samples] == ["000000000", "000000001", "000010000", "000010001", "000020000"]
    assert samples[0][1]["jpg"] == (photos / "a.jpg").read_bytes()
    assert samples[1][1]["png"] == (photos / "b.PNG").read_bytes()
    assert [json.loads(members["json"]) for _, members in samples] == [
        {"captions": ["a dark square", "another caption"], "key": "000000000"},
        {"captions": ["ein graues Quadrat"], "key": "000000001"},
        {"short": "grey", "tags": ["x"], "key": "000010000"},
        {"key": "000010001"},
        {"captions": ["light"], "key": "000020000"},
    ]
    said = capsys.readouterr().out
    assert "5 samples in 3 shards" in said
    assert "1 samples have no caption" in said
    assert "keyclip embed --shards" in said
    assert len(ShardSamples([str(output / "*.tar")], None, cache=tmp_path / "cache").keys) == 5


def test_a_table_names_images_keys_and_captions(photos, tmp_path, capsys):
    rows = [
        {"id": "x7", "file": "photos/a.jpg", "short": "dark", "long": "a dark square", "size": "8"},
        {"id": "x8", "file": "photos/b.PNG", "short": "grey", "long": "", "size": "8"},
    ]
    table = write_csv(tmp_path / "captions.csv", rows)
    arguments = ["--table", table, "--image-column", "file", "--key-column", "id", "--output", tmp_path / "shards"]
    assert pack(*arguments, "--caption-columns", "short", "long", "--json") == 0
    assert printed_json(capsys)["num_samples"] == 2
    assert [(key, json.loads(members["json"])) for key, members in read(tmp_path / "shards" / "00000.tar")] == [
        ("x7", {"short": "dark", "long": "a dark square", "key": "x7"}),
        ("x8", {"short": "grey", "long": "", "key": "x8"}),
    ]


def test_the_same_command_continues_and_other_images_are_refused(photos, tmp_path, capsys):
    arguments = ["--folder", photos, "--output", tmp_path / "shards", "--samples-per-shard", 2]
    assert pack(*arguments) == 0
    whole = contents(tmp_path / "shards")
    (tmp_path / "shards" / "00001.tar").unlink()
    assert pack(*arguments, "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["num_kept_shards"] == 2
    assert contents(tmp_path / "shards") == whole
    (photos / "d.txt").write_text("a caption of its own")
    assert pack(*arguments) == 1
    assert "holds shards of other images or captions" in capsys.readouterr().err
    assert contents(tmp_path / "shards") == whole


def test_broken_images_stop_or_are_counted(photos, tmp_path, capsys):
    (photos / "a.jpg").write_bytes(b"no image")
    assert pack("--folder", photos, "--output", tmp_path / "shards") == 1
    assert "a.jpg' cannot be packed" in capsys.readouterr().err
    assert pack("--folder", photos, "--output", tmp_path / "others", "--broken", "skip") == 0
    assert "1 images are left out" in capsys.readouterr().out
    assert next(key for key, _ in read(tmp_path / "others" / "00000.tar")) == "000000001"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"image": "photos/a.jpg", "k": "x"}, {"image": "photos/b.PNG", "k": "x"}], "the key 'x' comes twice"),
        ([{"image": "photos/a.jpg", "k": "x.y"}], "cannot name a sample"),
        ([{"image": "photos/a.jpg", "k": "../x"}], "cannot name a sample"),
        ([{"image": "", "k": "x"}], "row 1 of .* names no image"),
        ([{"picture": "photos/a.jpg", "k": "x"}], "has no column 'image'"),
        ([{"image": "photos/none.jpg", "k": "x"}], "none.jpg' cannot be packed: No such file"),
    ],
)
def test_rows_that_cannot_be_packed_are_one_sentence(photos, tmp_path, capsys, rows, message):
    table = write_csv(tmp_path / "t.csv", rows)
    assert pack("--table", table, "--key-column", "k", "--output", tmp_path / "shards") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error), error


def test_a_folder_with_other_files_is_left_alone(photos, tmp_path, capsys):
    before = contents(photos)
    assert pack("--folder", photos, "--output", photos) == 1
    assert "holds other files" in capsys.readouterr().err
    assert contents(photos) == before

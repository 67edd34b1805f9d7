"""Images of evaluation sets in folders, in shards, and missing."""

import json

import numpy as np
import pytest

from store.common.errors import CaptionFieldError, ConfigError, ShardNotFoundError
from tests.trainer.examples import encoded, picture, write_tar
from trainer.evaluation.sets.definition import Definition
from trainer.evaluation.sets.images import find_images
from trainer.evaluation.sets.layouts import open_set, texts_of
from trainer.evaluation.sets.shards import shards_of
from trainer.images.transform import BrokenImageError

NAMES = ["val2014/one.jpg", "two.png", "three"]


def write_images(folder, *names):
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    return str(folder)


def contents(images):
    return [images.image(i).decode() for i in range(len(images))]


def test_an_image_of_a_folder_is_found_by_its_path_by_its_name_alone_and_without_a_suffix(tmp_path):
    folder = write_images(tmp_path, "val2014/one.jpg", "two.png", "three.jpeg")
    images, found = find_images([folder], NAMES)
    assert found.tolist() == [True] * 3
    assert contents(images) == ["val2014/one.jpg", "two.png", "three.jpeg"]
    assert [images.key(i) for i in range(3)] == NAMES
    images, found = find_images([str(tmp_path / "val2014")], NAMES[:1])
    assert contents(images) == ["val2014/one.jpg"]


def test_several_folders_are_searched_in_order(tmp_path):
    first, second = write_images(tmp_path / "a", "one.jpg"), write_images(tmp_path / "b", "one.jpg", "two.png")
    images, found = find_images([first, second], NAMES)
    assert found.tolist() == [True, True, False]
    assert len(images) == 2


def test_images_in_shards_are_found_by_sample_key(tmp_path):
    members = [(f"{name}.jpg", name.encode()) for name in ("three", "one", "val2014/four")]
    shard = write_tar(tmp_path / "0.tar", members)
    images, found = find_images([shard], [*NAMES, "val2014/four.jpg"])
    assert found.tolist() == [True, False, True, True]
    assert contents(images) == ["one", "three", "val2014/four"]
    assert [images.key(i) for i in range(3)] == ["one", "three", "val2014/four"]


def test_a_broken_image_is_named_with_its_file_or_its_shard(tmp_path):
    error = BrokenImageError("torn")
    images, _ = find_images([write_images(tmp_path, "two.png")], ["two.png"])
    assert str(images.broken(0, error)) == f"'{tmp_path}/two.png': torn; download it again"
    images, _ = find_images([write_tar(tmp_path / "0.tar", [("a.jpg", b"x"), ("b.jpg", b"y")])], ["b.jpg"])
    assert f"sample 'b' of shard '{tmp_path}/0.tar': torn" in str(images.broken(0, error))


def test_sources_that_are_not_there_or_mixed_are_refused(tmp_path):
    folder = write_images(tmp_path / "images", "one.jpg")
    shard = write_tar(tmp_path / "0.tar", [("a.jpg", b"x")])
    for sources, message in (
        ([], "no images are named"),
        ([folder, shard], "partly folders and partly not"),
        ([str(tmp_path / "none")], "no such image folder: .*none"),
    ):
        with pytest.raises(ConfigError, match=message):
            find_images(sources, NAMES)
    with pytest.raises(ShardNotFoundError, match=r"no such shard: .*none\.tar"):
        find_images([str(tmp_path / "none.tar")], NAMES)


@pytest.fixture
def lines_set(tmp_path):
    """A set of three images, one of which is not there: its only caption, and a caption that it shares."""
    rows = [
        {"image": "a.jpg", "caption": "A."},
        {"image": "lost.jpg", "caption": "Lost."},
        {"image": ["lost.jpg", "b.jpg"], "caption": "Shared."},
    ]
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    images = write_images(tmp_path / "images", "a.jpg", "b.jpg")
    return {"name": "mine", "layout": "jsonl", "annotations": (tmp_path / "set.jsonl",), "images": (images,)}


def test_missing_images_are_refused_with_their_number_and_the_first_name(lines_set):
    with pytest.raises(
        ConfigError, match=r"1 of 3 images of set 'mine' are not in .*, first 'lost\.jpg'; check 'images'"
    ):
        open_set(Definition(**lines_set))


def test_missing_images_are_left_out_with_their_captions_where_the_set_says_so(lines_set):
    opened = open_set(Definition(**lines_set, missing="skip"))
    assert contents(opened.images) == ["a.jpg", "b.jpg"]
    assert [(c.key, c.images) for c in opened.content.captions] == [
        ("a#0", (0,)),
        ("lost#1", (1,)),
    ]  # keys stay the same
    assert opened.num_missing == 1


def test_a_set_without_any_image_is_refused_even_so(lines_set, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="3 of 3 images of set 'mine' are not in"):
        open_set(Definition(**lines_set | {"images": (str(tmp_path / "empty"),)}, missing="skip"))


def test_texts_need_no_images(lines_set):
    definition = Definition(**lines_set | {"images": ()})
    assert texts_of(definition) == {"mine/a#0": "A.", "mine/lost#0": "Lost.", "mine/lost#1": "Shared."}


def retrieval_shard(path):
    """CLIP_benchmark's form: a text member with one caption a line."""
    members = []
    for i in range(3):
        members += [
            (f"s000000{i}.webp", encoded(picture(i), "WEBP")),
            (f"s000000{i}.txt", f"One {i}.\nTwo {i}.".encode()),
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_tar(path, members)


def test_a_clip_benchmark_retrieval_set_is_read_from_its_folder(tmp_path):
    retrieval_shard(tmp_path / "wds" / "test" / "0.tar")
    (tmp_path / "wds" / "test" / "nshards.txt").write_text("1\n")
    (tmp_path / "wds" / "dataset_type.txt").write_text("retrieval\n")
    opened = open_set(Definition(name="wds", layout="clip-benchmark", images=(str(tmp_path / "wds"),)))
    assert len(opened.images) == 3
    assert [(c.key, c.text, c.images) for c in opened.content.captions[:3]] == [
        ("s0000000#0", "One 0.", (0,)),
        ("s0000000#1", "Two 0.", (0,)),
        ("s0000001#0", "One 1.", (1,)),
    ]


def test_shards_hold_captions_in_a_text_member_or_in_their_json(tmp_path):
    text = retrieval_shard(tmp_path / "text.tar")
    values = {"captions": ["One.", "Two."], "caption": "Alone.", "number": 3}
    in_json = write_tar(tmp_path / "json.tar", [("k.jpg", encoded(picture())), ("k.json", json.dumps(values).encode())])

    def texts(shard, captions):
        definition = Definition(name="a", layout="webdataset", images=(shard,), captions=captions)
        return list(texts_of(definition).values())

    assert texts(text, ".txt")[:2] == ["One 0.", "Two 0."]
    assert texts(in_json, "captions") == ["One.", "Two."]
    assert texts(in_json, "captions.1") == ["Two."]
    assert texts(in_json, "caption") == ["Alone."]
    with pytest.raises(ConfigError, match="'number' holds 3; expected a caption or a list"):
        texts(in_json, "number")
    with pytest.raises(CaptionFieldError, match=r"sample 'k' of shard .*: its json has nothing at 'none'"):
        texts(in_json, "none")
    with pytest.raises(CaptionFieldError, match=r"sample 'k' of shard .* has no \.txt member"):
        texts(in_json, ".txt")


def test_a_clip_benchmark_folder_without_its_number_of_shards_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"test/nshards\.txt' cannot be read .* expected CLIP_benchmark's layout"):
        shards_of([str(tmp_path)], "test")


def test_found_is_an_array_that_tells_names_apart(tmp_path):
    _, found = find_images([write_images(tmp_path, "two.png")], NAMES)
    np.testing.assert_array_equal(found, [False, True, False])

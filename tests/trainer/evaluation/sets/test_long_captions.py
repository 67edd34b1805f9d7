"""ShareGPT4V, Urban-1k, DOCCI, DCI, XM3600 and plain json lines from small files in their public layouts."""

import json

import pytest

from store.common.errors import ConfigError
from trainer.evaluation.sets.captions import READERS
from trainer.evaluation.sets.definition import Definition
from trainer.evaluation.sets.layouts import read_content


def read(layout, annotations, **entries):
    """Images, and captions as (key, text, images, language)."""
    found = read_content(Definition(name="set", layout=layout, annotations=(annotations,), **entries))
    return found.images, [(c.key, c.text, c.images, c.language) for c in found.captions]


def lines(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def sharegpt4v_row(number):
    return {
        "id": f"000000{number}",
        "image": f"sam/images/sa_{number}.jpg",
        "conversations": [
            {"from": "human", "value": "What do you see?\n<image>"},
            {"from": "gpt", "value": f"Line one of {number}.\nLine two."},
        ],
    }


def test_sharegpt4v_takes_the_answer_as_one_line_and_the_first_thousand(tmp_path):
    file = tmp_path / "share-captioner_coco_lcs_sam_1246k_1107.json"
    file.write_text(json.dumps([sharegpt4v_row(i) for i in range(1003)]))
    images, captions = read("sharegpt4v", file)
    assert len(images) == len(captions) == 1000
    assert images[7] == "sam/images/sa_7.jpg"
    assert captions[7] == ("sam/images/sa_7#0", "Line one of 7. Line two.", (7,), "")
    assert len(read("sharegpt4v", file, limit=2)[0]) == 2
    file.write_text(json.dumps([{"image": "x.jpg"}]))
    with pytest.raises(ConfigError, match=r"cannot be read as ShareGPT4V's json .* KeyError"):
        read("sharegpt4v", file)


def test_urban1k_reads_a_folder_of_captions_in_the_order_of_numbers(tmp_path):
    folder = tmp_path / "Urban1k" / "caption"
    folder.mkdir(parents=True)
    for number in (10, 2, 1):
        (folder / f"{number}.txt").write_text(f"A street,\nnumber {number}.\n")
    images, captions = read("urban1k", folder)
    assert images == ["1.jpg", "2.jpg", "10.jpg"]
    assert captions[2] == ("10#0", "A street, number 10.", (2,), "")
    with pytest.raises(ConfigError, match=r"holds no .txt file; give Urban-1k's folder 'caption'"):
        read("urban1k", tmp_path)


def test_docci_gives_the_test_split_of_its_jsonlines(tmp_path):
    rows = [
        {
            "example_id": f"{split}_0000{i}",
            "split": split,
            "image_file": f"{split}_0000{i}.jpg",
            "description": f"A {i}.",
        }
        for i, split in enumerate(["train", "test", "qual_test", "test"])
    ]
    file = lines(tmp_path / "docci_descriptions.jsonlines", rows)
    images, captions = read("docci", file)
    assert images == ["test_00001.jpg", "test_00003.jpg"]
    assert captions == [("test_00001#0", "A 1.", (0,), ""), ("test_00003#0", "A 3.", (1,), "")]
    with pytest.raises(ConfigError, match="no image in split 'dev'; there are qual_test, test, train"):
        read("docci", file, split="dev")


@pytest.fixture
def dci_folder(tmp_path):
    folder = tmp_path / "densely_captioned_images"
    (folder / "annotations").mkdir(parents=True)
    (folder / "splits.json").write_text(json.dumps({"train": ["a.json"], "valid": [], "test": ["b.json"]}))
    for name in "ab":
        annotation = {"image": f"sa_{name}.jpg", "short_caption": f"Short {name}.", "extra_caption": f"Long {name}."}
        (folder / "annotations" / f"{name}.json").write_text(json.dumps(annotation | {"mask_data": {}}))
    return folder


def test_dci_joins_the_short_and_the_extra_caption_of_all_splits(dci_folder):
    images, captions = read("dci", dci_folder)
    assert images == ["sa_a.jpg", "sa_b.jpg"]
    assert captions == [("sa_a#0", "Short a.\nLong a.", (0,), ""), ("sa_b#0", "Short b.\nLong b.", (1,), "")]


def test_dci_can_be_read_by_split_and_names_what_an_annotation_lacks(dci_folder):
    assert read("dci", dci_folder, split="test")[0] == ["sa_b.jpg"]
    with pytest.raises(ConfigError, match="has no split 'dev'; there are test, train, valid"):
        read("dci", dci_folder, split="dev")
    (dci_folder / "annotations" / "b.json").write_text('{"image": "sa_b.jpg"}')
    with pytest.raises(
        ConfigError, match=r"b.json' cannot be read as a DCI annotation \(image, short_caption, .*'short_caption'"
    ):
        read("dci", dci_folder)


def caption_lists(*texts):
    return {"caption": list(texts), "caption/tokenized": list(texts), "caption/tokenized/lowercase": list(texts)}


XM3600 = [
    {
        "image/key": "0a1b",
        "image/locale": "en",
        "en": caption_lists("A road.", "A street."),
        "th": caption_lists("ถนน"),
    },
    {"image/key": "2c3d", "image/locale": "th", "en": caption_lists("A house."), "th": caption_lists("บ้าน")},
]


def test_xm3600_reads_every_language_of_an_image(tmp_path):
    images, captions = read("xm3600", lines(tmp_path / "captions.jsonl", XM3600))
    assert images == ["0a1b.jpg", "2c3d.jpg"]
    assert captions == [
        ("0a1b#en#0", "A road.", (0,), "en"),
        ("0a1b#en#1", "A street.", (0,), "en"),
        ("0a1b#th#0", "ถนน", (0,), "th"),
        ("2c3d#en#0", "A house.", (1,), "en"),
        ("2c3d#th#0", "บ้าน", (1,), "th"),
    ]


def test_xm3600_reads_the_web_form_of_its_captions_alike(tmp_path):
    web = [
        {
            "imageId": row["image/key"],
            "imageLocale": row["image/locale"],
            "captions": [[language, row[language]["caption"]] for language in ("en", "th")],
        }
        for row in XM3600
    ]
    plain = read("xm3600", lines(tmp_path / "captions.jsonl", XM3600))
    assert read("xm3600", lines(tmp_path / "web_captions.jsonl", web)) == plain


def test_xm3600_can_be_read_in_some_languages(tmp_path):
    file = lines(tmp_path / "captions.jsonl", XM3600)
    assert {language for *_, language in read("xm3600", file, languages=("th",))[1]} == {"th"}
    with pytest.raises(ConfigError, match="has no captions in 'sw'; there are en, th"):
        read("xm3600", file, languages=("th", "sw"))


def test_json_lines_hold_captions_of_several_images_and_several_captions_of_an_image(tmp_path):
    rows = [
        {"image": "a.jpg", "caption": ["One.", "Two."]},
        {"image": ["b.jpg", "a.jpg"], "caption": "Both."},
        {"image": "b.jpg", "caption": "Drei.", "language": "de"},
    ]
    images, captions = read("jsonl", lines(tmp_path / "set.jsonl", rows))
    assert images == ["a.jpg", "b.jpg"]
    assert captions == [
        ("a#0", "One.", (0,), ""),
        ("a#1", "Two.", (0,), ""),
        ("b#0", "Both.", (1, 0), ""),
        ("b#de#0", "Drei.", (1,), "de"),
    ]


@pytest.mark.parametrize("layout", sorted(READERS))
def test_a_set_whose_annotations_are_not_there_is_refused_naming_the_file(tmp_path, layout):
    with pytest.raises(ConfigError, match="none"):
        read(layout, tmp_path / "none")


@pytest.mark.parametrize("layout", ["docci", "xm3600", "jsonl"])
@pytest.mark.parametrize("content", ["{}\n", "{\n", "[]\n"])
def test_lines_that_are_no_objects_of_the_layout_are_refused(tmp_path, layout, content):
    (tmp_path / "file.jsonl").write_text(content)
    with pytest.raises(ConfigError, match=r"cannot be read as .*: (line 1 is not (json|a json object)|KeyError)"):
        read(layout, tmp_path / "file.jsonl")


def test_a_caption_may_hold_characters_that_end_lines_elsewhere(tmp_path):
    caption = "one\u2028two\x85three\x0cfour"
    file = lines(tmp_path / "set.jsonl", [{"image": "1.jpg", "caption": caption}, {"image": "2.jpg", "caption": "x"}])
    assert "\u2028" in file.read_text(encoding="utf-8")
    images, captions = read("jsonl", file)
    assert images == ["1.jpg", "2.jpg"]
    assert captions[0] == ("1#0", caption, (0,), "")


@pytest.mark.parametrize("caption", [None, 7, ["a", None]])
def test_a_caption_that_is_no_text_is_refused_naming_its_image(tmp_path, caption):
    file = lines(tmp_path / "set.jsonl", [{"image": "1.jpg", "caption": caption}])
    with pytest.raises(ConfigError, match=r"a caption of image '1.jpg' is (None|7); expected text"):
        read("jsonl", file)
    file = lines(tmp_path / "docci.jsonlines", [{"image_file": "1.jpg", "split": "test", "description": None}])
    with pytest.raises(ConfigError, match=r"a caption of image '1.jpg' is None; expected text"):
        read("docci", file)


def test_xm3600_takes_a_single_text_for_one_caption(tmp_path):
    file = lines(tmp_path / "captions.jsonl", [{"image/key": "k", "en": {"caption": "a dog"}}])
    assert [text for _, text, *_ in read("xm3600", file)[1]] == ["a dog"]

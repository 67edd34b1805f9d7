"""COCO and Flickr30k from small files in their public layouts."""

import csv
import json

import pytest

from store.common.errors import ConfigError
from trainer.evaluation.sets.definition import Definition
from trainer.evaluation.sets.layouts import read_content

KARPATHY_COCO = {
    "images": [
        {
            "filepath": "val2014",
            "sentids": [770337, 771687],
            "filename": "COCO_val2014_000000391895.jpg",
            "imgid": 0,
            "split": "test",
            "sentences": [
                {
                    "tokens": ["a", "man"],
                    "raw": "A man with a red helmet on a small moped.",
                    "imgid": 0,
                    "sentid": 770337,
                },
                {"tokens": ["man"], "raw": "Man riding a motor bike on a dirt road.\n", "imgid": 0, "sentid": 771687},
            ],
            "cocoid": 391895,
        },
        {
            "filepath": "train2014",
            "sentids": [1],
            "filename": "COCO_train2014_000000000009.jpg",
            "imgid": 1,
            "split": "restval",
            "sentences": [{"tokens": [], "raw": "Another picture.", "imgid": 1, "sentid": 1}],
            "cocoid": 9,
        },
    ],
    "dataset": "coco",
}
KARPATHY_FLICKR = {
    "images": [
        {
            "sentids": [0, 1],
            "imgid": 0,
            "sentences": [
                {"tokens": [], "raw": "Two young guys with shaggy hair.", "imgid": 0, "sentid": 0},
                {"tokens": [], "raw": "  ", "imgid": 0, "sentid": 1},
            ],
            "split": "test",
            "filename": "1000092795.jpg",
        }
    ],
    "dataset": "flickr30k",
}
COCO = {
    "info": {},
    "images": [
        {"license": 5, "file_name": "COCO_val2014_000000391895.jpg", "height": 360, "width": 640, "id": 391895},
        {"license": 5, "file_name": "COCO_val2014_000000522418.jpg", "height": 480, "width": 640, "id": 522418},
    ],
    "annotations": [
        {"image_id": 391895, "id": 770337, "caption": "A man with a red helmet."},
        {"image_id": 522418, "id": 681330, "caption": "A woman cutting a cake."},
        {"image_id": 391895, "id": 771687, "caption": "Man riding a bike."},
    ],
}


def read(tmp_path, layout, content, name="annotations.json", **entries):
    """What the layout's reader makes of a file of this content: images, and captions as (key, text, images)."""
    file = tmp_path / name
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    annotations = read_content(Definition(name="set", layout=layout, annotations=(file,), **entries))
    return annotations.images, [(c.key, c.text, c.images) for c in annotations.captions]


def test_karpathys_coco_json_gives_the_test_split(tmp_path):
    images, captions = read(tmp_path, "karpathy", KARPATHY_COCO)
    assert images == ["val2014/COCO_val2014_000000391895.jpg"]
    assert captions == [
        ("val2014/COCO_val2014_000000391895#0", "A man with a red helmet on a small moped.", (0,)),
        ("val2014/COCO_val2014_000000391895#1", "Man riding a motor bike on a dirt road.", (0,)),
    ]


def test_another_split_can_be_named_and_a_wrong_one_is_refused(tmp_path):
    assert read(tmp_path, "karpathy", KARPATHY_COCO, split="restval")[0] == [
        "train2014/COCO_train2014_000000000009.jpg"
    ]
    with pytest.raises(ConfigError, match="has no image in split 'dev'; there are restval, test"):
        read(tmp_path, "karpathy", KARPATHY_COCO, split="dev")


def test_karpathys_flickr_json_has_no_folders_and_blank_captions_are_left_out(tmp_path):
    images, captions = read(tmp_path, "karpathy", KARPATHY_FLICKR)
    assert images == ["1000092795.jpg"]
    assert captions == [("1000092795#0", "Two young guys with shaggy hair.", (0,))]


@pytest.mark.parametrize("content", ["{", "[]", {"images": [{"split": "test"}]}, {"images": 3}])
def test_a_json_of_another_form_is_refused_saying_what_was_expected(tmp_path, content):
    with pytest.raises(ConfigError, match=r"annotations.json' .* Karpathy's json \(\{'images'"):
        read(tmp_path, "karpathy", content)


def test_coco_captions_are_pooled_by_image_in_the_order_of_the_images(tmp_path):
    images, captions = read(tmp_path, "coco", COCO)
    assert images == ["COCO_val2014_000000391895.jpg", "COCO_val2014_000000522418.jpg"]
    assert captions == [
        ("COCO_val2014_000000391895#0", "A man with a red helmet.", (0,)),
        ("COCO_val2014_000000391895#1", "Man riding a bike.", (0,)),
        ("COCO_val2014_000000522418#0", "A woman cutting a cake.", (1,)),
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("karpathy.json", json.dumps(KARPATHY_COCO)),
        ("names.txt", "COCO_val2014_000000391895.jpg\n"),
        ("ids.txt", "391895\n\n"),
    ],
)
def test_coco_captions_are_restricted_to_a_karpathy_split_or_a_list(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    images, captions = read(tmp_path, "coco", COCO, only=tmp_path / name)
    assert images == ["COCO_val2014_000000391895.jpg"]
    assert len(captions) == 2


def test_a_list_that_keeps_nothing_is_refused(tmp_path):
    (tmp_path / "names.txt").write_text("x.jpg\n")
    with pytest.raises(ConfigError, match=r"set 'set' \(coco\) has no caption; check its annotations, 'only'"):
        read(tmp_path, "coco", COCO, only=tmp_path / "names.txt")


TOKEN = "1000092795.jpg#0\tTwo young guys .\n1000092795.jpg#1\tTwo men, outside .\n10002456.jpg#0\tSeveral men .\n"
PIPES = (
    "image_name| comment_number| comment\n"
    "1000092795.jpg| 0| Two young guys .\n1000092795.jpg| 1| Two men, outside .\n10002456.jpg| 0| Several men .\n"
)
COMMAS = (
    'image,caption\n1000092795.jpg,Two young guys .\n1000092795.jpg,"Two men, outside ."\n10002456.jpg,Several men .\n'
)
TABLE = (
    "raw,sentids,split,filename,img_id\n"
    '"[""Two young guys ."", ""Two men, outside .""]","[0, 1]",test,1000092795.jpg,0\n'
    '"[""Several men .""]","[2]",test,10002456.jpg,1\n'
    '"[""Of another split.""]","[3]",train,1.jpg,2\n'
)


@pytest.mark.parametrize("content", [TOKEN, PIPES, COMMAS, TABLE], ids=["token", "pipes", "commas", "table"])
def test_the_texts_of_flickr30k_that_go_round_read_the_same(tmp_path, content):
    images, captions = read(tmp_path, "flickr", content, "captions.txt")
    assert images == ["1000092795.jpg", "10002456.jpg"]
    assert captions == [
        ("1000092795#0", "Two young guys .", (0,)),
        ("1000092795#1", "Two men, outside .", (0,)),
        ("10002456#0", "Several men .", (1,)),
    ]


def test_a_caption_with_an_unquoted_comma_is_read_whole(tmp_path):
    _, captions = read(tmp_path, "flickr", "image,caption\n1.jpg,One, two .\n", "captions.txt")
    assert captions == [("1#0", "One, two .", (0,))]


def test_flickr30k_is_restricted_to_a_list_of_names_with_or_without_suffix(tmp_path):
    (tmp_path / "test.txt").write_text("10002456\n")
    images, captions = read(tmp_path, "flickr", TOKEN, "results.token", only=tmp_path / "test.txt")
    assert (images, [key for key, *_ in captions]) == (["10002456.jpg"], ["10002456#0"])


def test_a_text_in_no_known_form_is_refused_naming_the_forms(tmp_path):
    with pytest.raises(
        ConfigError, match=r"cannot be read as Flickr30k captions: expected NAME.jpg#0<TAB>caption lines"
    ):
        read(tmp_path, "flickr", "a,b\n1,2\n", "captions.txt")


def test_the_first_images_can_be_read_alone(tmp_path):
    images, captions = read(tmp_path, "flickr", TOKEN, "results.token", limit=1)
    assert (images, len(captions)) == (["1000092795.jpg"], 2)


def test_a_caption_may_hold_characters_that_end_lines_elsewhere(tmp_path):
    for content in (TOKEN, PIPES, COMMAS):
        odd = content.replace("Several men", "Several\u2028men\x85here")
        _, captions = read(tmp_path, "flickr", odd, "captions.txt")
        assert captions[2] == ("10002456#0", "Several\u2028men\x85here .", (1,))


def test_the_line_of_results_csv_that_lacks_a_bar_is_read_without_its_number(tmp_path):
    content = "image_name| comment_number| comment\n2199200615.jpg| 4   A dog runs across the grass .\n"
    assert read(tmp_path, "flickr", content, "results.csv")[1] == [
        ("2199200615#0", "A dog runs across the grass .", (0,))
    ]


def test_annotations_that_are_no_text_or_no_csv_are_refused(tmp_path):
    short = "raw,split,filename\n" + '"[""a""]",test,1.jpg\n'
    with pytest.raises(ConfigError, match=r"a caption of image '1.jpg' is None; expected text"):
        read(tmp_path, "flickr", short.replace('""a""', "null"), "captions.csv")
    with pytest.raises(ConfigError, match=r"cannot be read as .*: '' is not a list of captions"):
        read(tmp_path, "flickr", "filename,split,raw\n1.jpg,test\n", "captions.csv")
    limit = csv.field_size_limit(131_072)  # of the process: readers of caption tables raise it
    with pytest.raises(ConfigError, match=r"cannot be read as Flickr30k captions: field larger than field limit"):
        read(tmp_path, "flickr", short.replace("a", "a" * 200_000), "captions.csv")
    csv.field_size_limit(limit)
    sentences = [{"raw": None}]
    with pytest.raises(ConfigError, match=r"a caption of image '1.jpg' is None; expected text"):
        read(tmp_path, "karpathy", {"images": [{"filename": "1.jpg", "split": "test", "sentences": sentences}]})

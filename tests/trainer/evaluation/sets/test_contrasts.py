"""SugarCrepe and MMVP-VLM from small files in their public layouts, and which answers are right."""

import json
from dataclasses import replace

import pytest
import torch

from store.common.errors import ConfigError, KeyclipError
from trainer.evaluation.metrics import nearer_to_true, pairs_matched, right_answers
from trainer.evaluation.sets.contrasts import SUGARCREPE, Contrasts
from trainer.evaluation.sets.definition import Definition
from trainer.evaluation.sets.layouts import is_classification, open_set, texts_of

KINDS = ["add_obj", "add_att", "replace_obj", "replace_att", "replace_rel", "swap_obj", "swap_att"]


@pytest.fixture
def sugarcrepe(tmp_path):
    """Two samples of each kind, of one image in common; numbers have holes, as published."""
    (tmp_path / "data").mkdir()
    (tmp_path / "val2017").mkdir()
    for place, kind in enumerate(KINDS):
        names = ("000000085329.jpg", f"{place:012d}.jpg")
        samples = {
            str(3 * i): {"filename": name, "caption": f"true {kind} {i}", "negative_caption": f"false {kind} {i}"}
            for i, name in enumerate(names)
        }
        (tmp_path / "data" / f"{kind}.json").write_text(json.dumps(samples))
        for name in names:
            (tmp_path / "val2017" / name).write_bytes(b"")
    return Definition(
        name="sugarcrepe",
        layout="sugarcrepe",
        annotations=(tmp_path / "data",),
        images=(str(tmp_path / "val2017"),),
    )


def test_sugarcrepe_has_seven_kinds_with_a_caption_and_a_negative_for_each_image(sugarcrepe):
    assert list(SUGARCREPE) == KINDS
    assert not is_classification(sugarcrepe)
    opened = open_set(sugarcrepe)
    assert (len(opened.images), opened.num_missing) == (8, 0)
    assert list(opened.content.by_kind()) == KINDS
    assert [len(questions) for questions in opened.content.by_kind().values()] == [2] * 7
    second = opened.content.questions[1]
    assert (second.kind, opened.images.key(second.images[0])) == ("add_obj", "000000000000.jpg")
    answers = [opened.content.captions[i] for i in second.texts]
    assert [(one.key, one.text) for one in answers] == [
        ("add_obj/3#caption", "true add_obj 1"),
        ("add_obj/3#negative", "false add_obj 1"),
    ]


def test_texts_are_named_by_set_kind_and_number(sugarcrepe):
    texts = texts_of(sugarcrepe)
    assert len(texts) == 2 * 2 * 7
    assert texts["sugarcrepe/swap_att/0#negative"] == "false swap_att 0"
    assert open_set(sugarcrepe).texts() == texts


def test_a_missing_image_stops_the_set_or_is_left_out_with_its_samples(sugarcrepe, tmp_path):
    (tmp_path / "val2017" / "000000000002.jpg").unlink()
    with pytest.raises(ConfigError, match=r"1 of 8 images of set 'sugarcrepe' are not in .*, first '000000000002.jpg'"):
        open_set(sugarcrepe)
    opened = open_set(replace(sugarcrepe, missing="skip"))
    assert (len(opened.images), opened.num_missing, len(opened.content.questions)) == (7, 1, 13)
    assert opened.content.by_kind()["replace_obj"][0].images == (0,)
    assert "sugarcrepe/replace_obj/3#caption" not in opened.texts()
    first = open_set(replace(sugarcrepe, limit=1))
    assert [question.kind for question in first.content.questions] == KINDS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "SugarCrepe's file .*swap_obj.json' cannot be read: .*; give SugarCrepe's folder 'data'"),
        ("[]", "not as expected: input should be .*; give SugarCrepe's folder 'data'"),
        ('{"0": {"filename": "1.jpg", "caption": "a"}}', "at '0.negative_caption', field required"),
        ('{"0": {"filename": "1.jpg", "caption": 1, "negative_caption": ""}}', "at '0.caption', input should be"),
    ],
)
def test_a_file_that_is_not_sugarcrepes_is_refused(sugarcrepe, tmp_path, content, message):
    file = tmp_path / "data" / "swap_obj.json"
    file.unlink()
    if content is not None:
        file.write_text(content)
    with pytest.raises(KeyclipError, match=message):
        open_set(sugarcrepe)


QUESTIONS = """Question ID,Type,Statement
1,Orientation,"a snail, facing the camera"
2,Orientation,a snail facing away from the camera
3,Camera Perspective,a keyboard seen from the front
4,Camera Perspective,a keyboard seen from the side
"""


@pytest.fixture
def mmvp(tmp_path):
    for number, kind in ((1, "Orientation"), (2, "Orientation"), (3, "Camera Perspective"), (4, "Camera Perspective")):
        (tmp_path / "MLLM_VLM Images" / kind).mkdir(parents=True, exist_ok=True)
        (tmp_path / "MLLM_VLM Images" / kind / f"{number}.jpg").write_bytes(b"")
    (tmp_path / "Questions.csv").write_text(QUESTIONS)
    return Definition(name="mmvp", layout="mmvp", annotations=(tmp_path,))


def test_mmvp_pairs_the_lines_of_its_csv_and_finds_images_by_type(mmvp):
    opened = open_set(mmvp)
    assert list(opened.content.by_kind()) == ["Orientation", "Camera Perspective"]
    assert [opened.images.key(i) for i in range(4)][2:] == ["Camera Perspective/3.jpg", "Camera Perspective/4.jpg"]
    first, second = opened.content.questions
    assert (first.images, first.texts, second.images, second.texts) == ((0, 1), (0, 1), (2, 3), (2, 3))
    texts = texts_of(mmvp)
    assert texts["mmvp/Orientation/1"] == "a photo of a snail, facing the camera"
    assert len(texts) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (QUESTIONS.replace("Statement", "Text"), "columns Question ID, Type, Text; expected MMVP-VLM's Questions.csv"),
        (QUESTIONS + "5,Orientation,one\n", "has 5 lines of columns Question ID, Type, Statement; expected"),
        (QUESTIONS.replace("4,Camera Perspective", "4,Color"), r"question '4' of .* is of another type .*\('Camera"),
        ("", "has 0 lines of columns none"),
    ],
)
def test_a_csv_that_is_not_mmvps_is_refused(mmvp, tmp_path, content, message):
    (tmp_path / "Questions.csv").write_text(content)
    with pytest.raises(ConfigError, match=message):
        open_set(mmvp)


def test_an_image_is_right_when_it_is_strictly_closer_to_the_true_caption():
    image = torch.tensor([[1.0, 0.0]] * 4)
    true = torch.tensor([[0.8, 0.6], [0.6, 0.8], [0.6, 0.8], [torch.nan, 0.0]])
    false = torch.tensor([[0.6, 0.8], [0.8, 0.6], [0.6, -0.8], [0.0, 1.0]])
    assert nearer_to_true(image, true, false).tolist() == [True, False, False, False]


def test_a_pair_is_right_when_both_texts_choose_their_own_image():
    """Scores (image, text) of the four pairs by hand; a text looks down its column, not along a row."""
    images = torch.eye(2)[None].repeat(4, 1, 1)
    columns = [[[0.9, 0.8], [0.1, 0.2]], [[0.9, 0.3], [0.8, 0.7]], [[0.5, 0.1], [0.5, 0.9]], [[0.1, 0.9], [0.9, 0.1]]]
    texts = torch.tensor(columns).transpose(1, 2)  # text t scores columns[pair][image][t]
    assert pairs_matched(images, texts).tolist() == [False, True, False, False]


def test_the_answers_of_each_kind_follow_its_questions():
    contrasts = Contrasts(table="composition")
    contrasts.ask("a", ("1.jpg",), {"a/0#caption": "x", "a/0#negative": "y"})
    contrasts.ask("b", ("1.jpg",), {"b/0#caption": "y", "b/0#negative": "x"})
    contrasts.ask("a", ("2.jpg",), {"a/1#caption": "x", "a/1#negative": "y"})
    x, y = [1.0, 0.0], [0.0, 1.0]
    found = right_answers(contrasts, torch.tensor([x, y]), torch.tensor([x, y, y, x, x, y]))
    assert {kind: right.tolist() for kind, right in found.items()} == {"a": [True, False], "b": [False]}

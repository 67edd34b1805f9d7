"""Class files and class vectors: prompts through the store, and ensembling by hand."""

import json

import pytest
import torch

import store
from store.common.checked import InvalidDataError
from store.common.errors import KeyclipError, MissingKeysError
from trainer.data.join import Join
from trainer.evaluation.metrics import accuracy, class_ranks
from trainer.evaluation.sets.class_names import Classes, label_positions, read_classes
from trainer.evaluation.texts import class_vectors

CLASSES = {
    "label": "kind.name",
    "classes": {"cat": ["cat", "kitten"], "dog": ["dog"]},
    "templates": ["a photo of a {}.", "{}, drawn: a {}"],
}


@pytest.fixture
def classes(tmp_path) -> Classes:
    file = tmp_path / "classes.json"
    file.write_text(json.dumps(CLASSES))
    return read_classes(file)


def make_join(folder, vectors: dict[str, list[float]]) -> Join:
    """A store of prompt vectors by key."""
    spec = store.FieldSpec(
        model="clip", revision="main", kind="clip-text", template="", pooling="eos", max_length=77, normalize=True,
        caption_field="prompt", dim=2, dtype="float32",
    )  # fmt: skip
    writer = store.create(folder / "prompts.store").writer("clip/prompt", spec)
    writer.commit("block", list(vectors), torch.tensor(list(vectors.values())).numpy(), store.caption_hashes(vectors))
    return Join(folder / "prompts.store", ["clip/prompt"])


def test_every_name_goes_into_every_template_under_a_key_of_its_own(classes):
    assert list(classes.prompts()) == [
        ("cat", "cat/0/0", "a photo of a cat."),
        ("cat", "cat/0/1", "cat, drawn: a cat"),
        ("cat", "cat/1/0", "a photo of a kitten."),
        ("cat", "cat/1/1", "kitten, drawn: a kitten"),
        ("dog", "dog/0/0", "a photo of a dog."),
        ("dog", "dog/0/1", "dog, drawn: a dog"),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": {}}, "needs at least one class"),
        ({"classes": {"cat": []}}, "a name for each"),
        ({"templates": []}, "one template"),
        ({"templates": ["a photo"]}, "template 'a photo' of .* has no {} where the class name goes"),
        ({"classes": ["cat"]}, "at 'classes', input should be an object; expected"),
        ({"classes": {"cat": "cat"}}, "at 'classes.cat', input should be a valid array; expected"),
        ({"primary": "top5"}, "at 'primary', input should be 'top1' or 'mean_per_class'; expected"),
        ({"label": None, "classes": None}, "not as expected: .*; expected"),
        ({"of": "cifar10", "labels": ["wolf"]}, "label 'wolf' of .* is none of the 10 of 'cifar10'"),
    ],
)
def test_a_classes_file_that_makes_no_sense_is_refused(tmp_path, change, message):
    file = tmp_path / "classes.json"
    file.write_text(json.dumps(CLASSES | change))
    with pytest.raises(KeyclipError, match=message):
        read_classes(file)


@pytest.mark.parametrize("content", [None, "", "{", "[]"])
def test_a_classes_file_that_is_not_there_or_no_json_is_refused(tmp_path, content):
    file = tmp_path / "classes.json"
    if content is not None:
        file.write_text(content)
    message = r"the classes file .*classes\.json' (cannot be read|is not as expected).*; expected \{\"label\""
    with pytest.raises(InvalidDataError, match=message):
        read_classes(file)


def test_a_class_is_the_mean_of_its_prompts_and_images_go_to_the_nearest(tmp_path, classes):
    """cat's four prompts point at 0, 0, 90 and 90 degrees: the class at 45. dog's point at 30 and 40: at 35."""
    join = make_join(
        tmp_path,
        {
            "cat/0/0": [1.0, 0.0],
            "cat/0/1": [2.0, 0.0],  # longer, but it counts no more
            "cat/1/0": [0.0, 1.0],
            "cat/1/1": [0.0, 3.0],
            "dog/0/0": [0.866025, 0.5],
            "dog/0/1": [0.766044, 0.642788],
        },
    )
    labels = label_positions(classes, [(label, "x") for label in ("cat", "cat", "dog", "dog")])
    degrees = torch.tensor([50.0, 39.0, 39.0, 41.0]).deg2rad()  # the border lies at 40
    images = torch.stack([degrees.cos(), degrees.sin()], dim=-1)
    ranks = class_ranks(images, class_vectors(classes, join, None), labels)
    assert accuracy(ranks, labels) == {"top1": 0.5, "top5": 1.0, "mean_per_class": 0.5}


def test_a_prompt_without_a_vector_is_refused(tmp_path, classes):
    join = make_join(tmp_path, {key: [1.0, 0.0] for _, key, _ in list(classes.prompts())[:-1]})
    with pytest.raises(MissingKeysError, match=r"1 of 6 .* field 'clip/prompt' .* 'dog/0/1'"):
        class_vectors(classes, join, None)

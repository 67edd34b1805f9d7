"""The YAML file that defines evaluation sets."""

from pathlib import Path

import pytest

from store.common.errors import ConfigError
from tests import ROOT
from trainer.evaluation.sets.class_names import SHIPPED, find_classes, read_classes
from trainer.evaluation.sets.contrasts import CONTRASTS
from trainer.evaluation.sets.definition import Definition, read_definitions
from trainer.evaluation.sets.layouts import is_classification

FILE = """
root: data
sets:
  coco: {layout: karpathy, annotations: coco/dataset_coco.json, images: coco}
  xm3600:
    layout: xm3600
    annotations: xm3600/captions.jsonl
    images: [xm3600/images, /elsewhere/images]
    languages: [en, no]
    missing: skip
    limit: 100
  food101: {layout: class-folders, images: food-101/images, classes: food101}
  own: {layout: class-shards, images: "own/{0..3}.tar", classes: own/classes.json, label: kind.name}
"""


def read(tmp_path, text) -> list[Definition]:
    (tmp_path / "evaluation.yaml").write_text(text)
    return read_definitions(tmp_path / "evaluation.yaml")


def test_paths_are_relative_to_the_root_which_is_relative_to_the_file(tmp_path):
    coco, xm3600, food101, own = read(tmp_path, FILE)
    data = tmp_path / "data"
    assert coco == Definition(
        name="coco", layout="karpathy", annotations=(data / "coco/dataset_coco.json",), images=(str(data / "coco"),)
    )
    assert xm3600.images == (str(data / "xm3600/images"), "/elsewhere/images")
    assert (xm3600.languages, xm3600.missing, xm3600.limit) == (
        ("en", "no"),
        "skip",
        100,
    )  # YAML takes a bare no for False
    assert food101.classes == "food101"  # the name of one that comes with keyclip
    assert (own.classes, own.label) == (str(data / "own/classes.json"), "kind.name")
    assert own.images == (str(data / "own/{0..3}.tar"),)


def test_a_train_split_has_the_sets_entries_but_for_its_own(tmp_path):
    (one,) = read(
        tmp_path,
        "sets: {dtd: {layout: class-folders, images: images, classes: dtd, only: test1.txt, "
        "train: {only: train1.txt}, validation: {images: other, only: val1.txt}}}",
    )
    assert (one.train.name, one.train.layout, one.train.classes) == ("dtd", "class-folders", "dtd")
    assert (one.only, one.train.only) == (tmp_path / "test1.txt", tmp_path / "train1.txt")
    assert (one.train.images, one.validation.images) == (one.images, (str(tmp_path / "other"),))
    assert (one.train.train, one.train.validation) == (None, None)


def test_without_a_root_paths_are_relative_to_the_file(tmp_path):
    (one,) = read(tmp_path, "sets: {a: {layout: jsonl, annotations: a.jsonl}}")
    assert one.annotation() == tmp_path / "a.jsonl"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "defines no evaluation set; expected 'sets:'"),
        ("sets: []", "defines no evaluation set"),
        ("sets: {a: {layout: jsonl}}\nroots: x", "has 'roots' next to 'sets' and 'root'"),
        ("sets: {a: {images: x}}", "set 'a' of .* has no layout"),
        ("sets: {a/b: {layout: jsonl}}", "a set's name is a word or more without '/'"),
        (
            "sets: {a: {layout: jsonl, image: x}}",
            "unknown entry 'image'; there are annotations, captions, classes",
        ),
        ("sets: {a: {layout: jsonl, limit: 0}}", "sets limit to 0; expected at least 1"),
        ("sets: {a: {layout: jsonl, missing: no}}", "sets missing to 'no'; expected 'error' or 'skip'"),
        ("sets: {a: {layout: jsonl, primary: top5}}", "sets primary to 'top5'; expected 'top1' or 'mean_per_class'"),
        ("sets: {a: {layout: jsonl, table: best}}", "sets table to 'best'; expected 'zeroshot' or 'robustness'"),
        ("sets: {a: {layout: class-folders, train: x}}", "train is 'x'; expected the entries that differ"),
        ("sets: {a: {layout: class-folders, train: {image: x}}}", "unknown entry 'image'"),
        ("sets: {a: {layout: jsonl", "cannot be read"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_naming_the_set(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text)


def test_a_file_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"the evaluation sets 'none.yaml' cannot be read"):
        read_definitions(Path("none.yaml"))


def test_a_layout_that_does_not_exist_is_refused_naming_those_that_do():
    with pytest.raises(ConfigError, match="set 'a' has the unknown layout 'voc'; there are karpathy, coco, flickr"):
        is_classification(Definition(name="a", layout="voc"))


def test_a_set_takes_one_annotations_path():
    with pytest.raises(ConfigError, match=r"set 'a' \(coco\) takes one annotations path; it names 0"):
        Definition(name="a", layout="coco").annotation()


def test_the_example_names_every_set_of_the_papers_tables_and_figures():
    sets = read_definitions(ROOT / "docs" / "evaluation.yaml")
    classified = [definition for definition in sets if is_classification(definition)]
    tables = [read_classes(SHIPPED / f"{definition.name}.json").table for definition in classified]
    assert (tables.count("zeroshot"), tables.count("robustness")) == (11, 5)
    others = [definition for definition in sets if definition not in classified]
    assert [definition.layout for definition in others if definition.layout in CONTRASTS] == ["sugarcrepe", "mmvp"]
    assert len(others) == 7 + 2
    for definition, table in zip(classified, tables, strict=True):
        shipped = read_classes(SHIPPED / f"{definition.name}.json")
        assert (definition.primary or "top1") == shipped.primary
        assert (definition.train is not None) == (table == "zeroshot")
        if definition.classes:
            assert find_classes(definition.classes) == shipped


def test_a_set_that_is_named_twice_is_refused_not_lost(tmp_path):
    file = tmp_path / "sets.yaml"
    file.write_text("sets:\n  coco: {layout: karpathy}\n  coco: {layout: coco}\n")
    with pytest.raises(ConfigError, match="'coco' stands twice"):
        read_definitions(file)


def test_a_file_of_sets_may_not_run_commands(tmp_path, monkeypatch):
    monkeypatch.delenv("KEYCLIP_ALLOW_PIPE", raising=False)
    (tmp_path / "sets.yaml").write_text("sets: {a: {layout: webdataset, images: ['pipe:touch made']}}")
    with pytest.raises(ConfigError, match=r"set 'a' of .* would run a shell command; give --allow-pipe"):
        read_definitions(tmp_path / "sets.yaml")


def test_norwegian_is_a_language_and_a_list_of_aliases_that_multiply_is_refused(tmp_path):
    (tmp_path / "sets.yaml").write_text("sets: {a: {layout: xm3600, annotations: a, images: i, languages: [no, da]}}")
    assert read_definitions(tmp_path / "sets.yaml")[0].languages == ("no", "da")
    bomb = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1]"] + [
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]" for i in range(1, 20)
    ]
    (tmp_path / "sets.yaml").write_text("\n".join(bomb))
    with pytest.raises(ConfigError, match="stands for more than"):
        read_definitions(tmp_path / "sets.yaml")

"""Classification sets in folders, in shards and in CLIP_benchmark's layout; the class files that come with keyclip."""

import json
from dataclasses import replace

import pytest

from store.common.errors import ConfigError
from tests.trainer.examples import encoded, picture, write_tar
from trainer.evaluation.sets.class_names import Classes, find_classes, label_positions, shipped_classes
from trainer.evaluation.sets.definition import Definition, read_definitions
from trainer.evaluation.sets.labels import classes_of
from trainer.evaluation.sets.layouts import is_classification, open_set, texts_of

PAPER = {
    "food101": (101, 1, "top1"),
    "cifar10": (10, 18, "top1"),
    "cifar100": (100, 18, "top1"),
    "sun397": (397, 2, "top1"),
    "cars": (196, 8, "top1"),
    "aircraft": (100, 2, "mean_per_class"),
    "dtd": (47, 8, "top1"),
    "pets": (37, 1, "mean_per_class"),
    "caltech101": (102, 34, "mean_per_class"),
    "flowers102": (102, 1, "mean_per_class"),
    "imagenet": (1000, 80, "top1"),
}
ROBUSTNESS = {"imagenet-v2": 1000, "imagenet-a": 200, "imagenet-o": 200, "imagenet-r": 200, "imagenet-sketch": 1000}
ANIMALS = Classes("label", {"cat": ["cat", "kitten"], "big_dog": ["big dog"], "owl": ["owl"]}, ["a {}.", "the {}."])


def test_the_eleven_sets_of_the_paper_and_five_of_imagenet_come_with_their_classes():
    assert shipped_classes() == sorted({**PAPER, **ROBUSTNESS})


@pytest.mark.parametrize(("name", "count"), ROBUSTNESS.items())
def test_the_sets_of_the_robustness_table_are_parts_of_imagenet_in_its_order(name, count):
    imagenet, classes = find_classes("imagenet"), find_classes(name)
    assert (len(classes.names), classes.primary, classes.table) == (count, "top1", "robustness")
    assert classes.templates == imagenet.templates
    kept = [label for label in imagenet.names if label in classes.names]
    assert list(classes.names.items()) == [(label, imagenet.names[label]) for label in kept]


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("imagenet-a", ("n01498041", "n12267677"), "n01440764"),  # stingray, acorn; not tench
        ("imagenet-o", ("n01443537", "n13052670"), "n01440764"),  # goldfish, hen of the woods
        ("imagenet-r", ("n01443537", "n10565667"), "n01440764"),  # goldfish, scuba diver
    ],
)
def test_the_lists_of_200_hold_what_was_published(name, inside, outside):
    classes = find_classes(name)
    assert (next(iter(classes.names)), set(inside) <= set(classes.names)) == (inside[0], True)
    assert outside not in classes.names


@pytest.mark.parametrize(("name", "expected"), PAPER.items())
def test_a_set_has_as_many_classes_and_templates_as_published_and_its_own_accuracy(name, expected):
    classes = find_classes(name)
    assert (len(classes.names), len(classes.templates), classes.primary) == expected
    assert len(set(classes.templates)) == len(classes.templates)
    assert all(template.count("{}") == 1 for template in classes.templates)
    names = [name for names in classes.names.values() for name in names]
    assert all(name == " ".join(name.split()) for name in names)


@pytest.mark.parametrize(
    ("name", "position", "label", "called"),
    [
        ("food101", 0, "apple_pie", "apple pie"),
        ("cifar10", 9, "truck", "truck"),
        ("cifar100", 1, "aquarium_fish", "aquarium fish"),
        ("sun397", 1, "a/airplane_cabin", "airplane cabin"),
        ("cars", 195, "smart fortwo Convertible 2012", "smart fortwo Convertible 2012"),
        ("aircraft", 72, "F-16A/B", "F-16A/B"),
        ("dtd", 30, "polka-dotted", "polka-dotted"),
        ("pets", 0, "Abyssinian", "Abyssinian"),
        ("caltech101", 2, "Faces_easy", "centered face"),
        ("flowers102", 0, "1", "pink primrose"),
        ("imagenet", 0, "n01440764", "tench"),
        ("imagenet", 999, "n15075141", "toilet paper"),
    ],
)
def test_labels_stand_in_the_order_of_their_numbers(name, position, label, called):
    classes = find_classes(name)
    assert list(classes.names)[position] == label
    assert classes.names[label] == [called]


def test_classes_that_do_not_exist_are_refused_naming_those_that_come_with_keyclip():
    with pytest.raises(
        ConfigError, match=r"the classes file 'food' cannot be read: no such file; .* cifar10, .* sun397"
    ):
        find_classes("food")


def test_a_label_is_a_number_a_label_or_a_name_in_other_spelling():
    labels = [2, "cat", "Big-Dog", "big dog", "Kitten"]
    assert label_positions(ANIMALS, [(label, "x") for label in labels]).tolist() == [2, 0, 1, 1, 0]
    for wrong in (3, -1, True, "cow", None):
        with pytest.raises(ConfigError, match=f"label {wrong!r} of sample 7 is none of the 3 classes"):
            label_positions(ANIMALS, [(wrong, "sample 7")])


def test_a_spelling_that_stands_for_two_classes_is_none():
    classes = Classes("label", {"n1": ["crane"], "n2": ["crane"]}, ["{}"])
    assert label_positions(classes, [("n2", "x")]).tolist() == [1]
    with pytest.raises(ConfigError, match="label 'crane' of x is none"):
        label_positions(classes, [("crane", "x")])


@pytest.fixture
def classes_file(tmp_path):
    file = tmp_path / "animals.json"
    file.write_text(json.dumps({"classes": ANIMALS.names, "templates": ANIMALS.templates}))
    return str(file)


def define(layout, *images, **entries) -> Definition:
    return Definition(name="animals", layout=layout, images=tuple(map(str, images)), **entries)


def test_folders_named_after_classes_hold_their_images_at_any_depth(tmp_path, classes_file):
    for name in ("cat/1.jpg", "Big Dog/2.png", "owl/3.JPEG", "owl/notes.txt", "4.jpg"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(name.encode())
    found = open_set(define("class-folders", tmp_path / "images", classes=classes_file))
    assert found.labels.tolist() == [1, 0, 2]
    assert [found.images.key(i) for i in range(3)] == ["Big Dog/2.png", "cat/1.jpg", "owl/3.JPEG"]
    assert found.images.image(1) == b"cat/1.jpg"


def test_a_label_may_be_a_path_of_folders(tmp_path):
    for label in ("a/abbey", "t/tennis_court/outdoor"):
        (tmp_path / "SUN397" / label).mkdir(parents=True)
        (tmp_path / "SUN397" / label / "sun_1.jpg").write_bytes(b"")
    found = open_set(define("class-folders", tmp_path / "SUN397", classes="sun397"))
    names = list(find_classes("sun397").names)
    assert [names[i] for i in found.labels.tolist()] == ["a/abbey", "t/tennis_court/outdoor"]


def test_a_folder_that_is_no_class_and_a_folder_without_images_are_refused(tmp_path, classes_file):
    (tmp_path / "images" / "cow").mkdir(parents=True)
    with pytest.raises(ConfigError, match="holds no image in a class folder"):
        open_set(define("class-folders", tmp_path / "images", classes=classes_file))
    (tmp_path / "images" / "cow" / "1.jpg").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"label 'cow' of folder 'cow' in .*images' is none of the 3 classes"):
        open_set(define("class-folders", tmp_path / "images", classes=classes_file))
    with pytest.raises(ConfigError, match=r"no such image folder: '.*none' .set 'animals'."):
        open_set(define("class-folders", tmp_path / "none", classes=classes_file))


def test_imagenet_v2_has_folders_named_by_the_numbers_of_classes(tmp_path):
    root = tmp_path / "imagenetv2-matched-frequency-format-val"
    for folder in ("0", "10", "999"):
        (root / folder).mkdir(parents=True)
        (root / folder / "0af3f1b55de791c4144e2fb6d7dfe96dfc22d3fc.jpeg").write_bytes(b"")
    found = open_set(define("number-folders", root, classes="imagenet-v2"))
    assert sorted(found.labels.tolist()) == [0, 10, 999]
    for wrong, message in (("1000", "label 1000 of folder '1000' .* is none of the 1000"), ("x", "is not the number")):
        (root / wrong).mkdir()
        (root / wrong / "1.jpeg").write_bytes(b"")
        with pytest.raises(ConfigError, match=message):
            open_set(define("number-folders", root, classes="imagenet-v2"))
        (root / wrong / "1.jpeg").unlink()


@pytest.mark.parametrize(("name", "wnid"), [("imagenet-a", "n01498041"), ("imagenet-o", "n01443537")])
def test_imagenets_hard_parts_have_folders_named_by_wnid(tmp_path, name, wnid):
    (tmp_path / name / wnid).mkdir(parents=True)
    (tmp_path / name / wnid / "0.000116_digital clock _ digital clock_0.865662.jpg").write_bytes(b"")
    (tmp_path / name / "README.txt").write_text("")
    found = open_set(define("class-folders", tmp_path / name, classes=name))
    assert found.labels.tolist() == [0]
    (tmp_path / name / "n01440764").mkdir()
    (tmp_path / name / "n01440764" / "1.jpg").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"label 'n01440764' of folder .* is none of the 200 classes"):
        open_set(define("class-folders", tmp_path / name, classes=name))


def test_a_list_divides_folders_of_images_into_splits(tmp_path, classes_file):
    """As Food-101's ``meta/test.txt``, DTD's ``labels/test1.txt`` and SUN397's ``Testing_01.txt`` do."""
    for name in ("cat/1.jpg", "cat/2.jpg", "owl/1.jpg", "owl/2.jpg"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(b"")
    lists = {"food.txt": "cat/1\nowl/2\n", "dtd.txt": "cat/1.jpg\nowl/2.jpg\n", "sun.txt": "/cat/1.jpg\n/owl/2.jpg\n"}
    for name, content in lists.items():
        (tmp_path / name).write_text(content)
        one = define("class-folders", tmp_path / "images", classes=classes_file, only=tmp_path / name)
        found = open_set(one)
        assert [found.images.key(i) for i in range(len(found.images))] == ["cat/1.jpg", "owl/2.jpg"]
    (tmp_path / "food.txt").write_text("cat/1\ncat/3\n")
    one = define("class-folders", tmp_path / "images", classes=classes_file, only=tmp_path / "food.txt")
    with pytest.raises(ConfigError, match=r"1 images that .*food\.txt' lists are not in .*, first 'cat/3'"):
        open_set(one)
    assert open_set(replace(one, missing="skip")).labels.tolist() == [0]


def labelled_shard(path, labels, member):
    members = []
    for i, label in enumerate(labels):
        members += [(f"s{i:07d}.jpg", encoded(picture(i))), (f"s{i:07d}.{member}", label.encode())]
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_tar(path, members)


def test_shards_hold_a_label_in_a_number_a_text_or_a_json_member(tmp_path, classes_file):
    numbers = labelled_shard(tmp_path / "cls.tar", ["2", "0\n"], "cls")
    texts = labelled_shard(tmp_path / "txt.tar", ["owl\n", "Big Dog"], "txt")
    jsons = labelled_shard(tmp_path / "json.tar", ['{"kind": {"name": "cat"}}', '{"kind": {"name": 1}}'], "json")
    for shard, label, expected in ((numbers, ".cls", [2, 0]), (texts, ".txt", [2, 1]), (jsons, "kind.name", [0, 1])):
        found = open_set(define("class-shards", shard, classes=classes_file, label=label))
        assert found.labels.tolist() == expected
        assert len(found.images) == 2
    with pytest.raises(ConfigError, match=r"the \.cls member of sample 's0000000' of shard .* holds 'owl'"):
        open_set(define("class-shards", labelled_shard(tmp_path / "a.tar", ["owl"], "cls"), classes=classes_file))


@pytest.fixture
def clip_benchmark(tmp_path):
    """A set in CLIP_benchmark's layout: two shards, and its own names in an order of its own."""
    folder = tmp_path / "wds_animals"
    labelled_shard(folder / "test" / "0.tar", ["0", "1"], "cls")
    write_tar(folder / "test" / "1.tar", [("s0000002.jpg", encoded(picture(9))), ("s0000002.cls", b"2")])
    (folder / "test" / "nshards.txt").write_text("2\n")
    (folder / "classnames.txt").write_text("owl\ncat\nbig dog\n")
    (folder / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\na drawing of a {c}.\n")
    (folder / "dataset_type.txt").write_text("classification\n")
    return folder


def test_a_clip_benchmark_set_brings_its_own_names_and_templates(clip_benchmark):
    definition = define("clip-benchmark", clip_benchmark)
    assert is_classification(definition)
    prompts = texts_of(definition)
    assert list(prompts.values())[:3] == ["a photo of a owl.", "a drawing of a owl.", "a photo of a cat."]
    assert all(key.startswith(f"animals/{i // 2}/") for i, key in enumerate(prompts))
    found = open_set(definition)
    assert found.labels.tolist() == [0, 1, 2]
    assert [found.images.key(i) for i in range(3)] == ["s0000000", "s0000001", "s0000002"]


def test_a_clip_benchmark_set_has_its_train_split_beside_the_test_split(clip_benchmark):
    labelled_shard(clip_benchmark / "train" / "0.tar", ["2", "2", "0"], "cls")
    (clip_benchmark / "train" / "nshards.txt").write_text("1\n")
    (clip_benchmark.parent / "sets.yaml").write_text(
        "sets: {animals: {layout: clip-benchmark, images: wds_animals, train: {split: train}}}"
    )
    (definition,) = read_definitions(clip_benchmark.parent / "sets.yaml")
    assert open_set(definition).labels.tolist() == [0, 1, 2]
    assert open_set(definition.train).labels.tolist() == [2, 2, 0]


def test_classes_of_a_file_are_put_into_the_order_of_the_sets_own_numbers(clip_benchmark, classes_file):
    definition = define("clip-benchmark", clip_benchmark, classes=classes_file)
    classes = classes_of(definition)
    assert list(classes.names.items()) == [("owl", ["owl"]), ("cat", ["cat", "kitten"]), ("big_dog", ["big dog"])]
    assert open_set(definition).labels.tolist() == [0, 1, 2]


def test_an_edited_template_changes_the_keys_of_its_own_prompts_alone(clip_benchmark):
    before = texts_of(define("clip-benchmark", clip_benchmark))
    (clip_benchmark / "zeroshot_classification_templates.txt").write_text("the {c}.\na drawing of a {c}.\n")
    after = texts_of(define("clip-benchmark", clip_benchmark))
    kept = before.items() & after.items()
    assert {text for _, text in kept} == {f"a drawing of a {name}." for name in ("owl", "cat", "big dog")}
    assert len(before) == len(after) == 6
    assert len(before.keys() & after.keys()) == 3


def test_a_set_says_which_accuracy_papers_report(clip_benchmark, classes_file):
    assert classes_of(define("clip-benchmark", clip_benchmark)).primary == "top1"
    for classes in (None, classes_file):
        definition = define("clip-benchmark", clip_benchmark, classes=classes, primary="mean_per_class")
        assert classes_of(definition).primary == "mean_per_class"
        assert classes_of(replace(definition, table="robustness")).table == "robustness"


def test_classes_that_differ_from_the_sets_own_are_refused(clip_benchmark, classes_file):
    (clip_benchmark / "classnames.txt").write_text("owl\ncat\nwolf\n")
    with pytest.raises(
        ConfigError, match=r"differ: label 'wolf' of classnames\.txt is none of the 3 classes; leave out"
    ):
        classes_of(define("clip-benchmark", clip_benchmark, classes=classes_file))
    (clip_benchmark / "classnames.txt").write_text("owl\ncat\nKitten\n")
    with pytest.raises(ConfigError, match=r"several lines of classnames\.txt are the same class"):
        classes_of(define("clip-benchmark", clip_benchmark, classes=classes_file))


def test_names_that_two_classes_share_do_no_harm_where_the_order_is_the_sets_own(clip_benchmark):
    imagenet = find_classes("imagenet")
    names = [called for (called,) in imagenet.names.values()]
    assert names.count("missile") == names.count("sunglasses") == 2
    (clip_benchmark / "classnames.txt").write_text("\n".join(names))
    assert classes_of(define("clip-benchmark", clip_benchmark, classes="imagenet")) == imagenet
    (clip_benchmark / "classnames.txt").write_text("\n".join([names[1], names[0], *names[2:]]))
    with pytest.raises(ConfigError, match=r"differ: label 'missile' of classnames\.txt is none of the 1000 classes"):
        classes_of(define("clip-benchmark", clip_benchmark, classes="imagenet"))


def test_a_set_without_classes_is_refused(clip_benchmark, tmp_path):
    (clip_benchmark / "zeroshot_classification_templates.txt").unlink()
    for definition in (define("clip-benchmark", clip_benchmark), define("class-folders", tmp_path)):
        with pytest.raises(
            ConfigError, match="set 'animals' names no classes file, and its folder holds no classnames"
        ):
            classes_of(definition)

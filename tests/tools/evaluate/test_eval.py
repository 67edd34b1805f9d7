"""``keyclip eval`` on defined sets and on shards, with a tiny CLIP, as a user calls it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from PIL import Image

import store
from store.common.errors import ConfigError
from tests.embedder.small_models import save_clip
from tests.trainer.examples import encoded, picture, write_tar
from tools.__main__ import main
from tools.commands.evaluate.eval import Config
from tools.evaluate.packed_ranks import unpack
from tools.report.material.inputs import load_result
from tools.report.material.queries import differences, measurements
from trainer.checkpoint.folder import save_checkpoint
from trainer.checkpoint.model import load_model
from trainer.data.join import Join
from trainer.evaluation.cka import linear_cka
from trainer.evaluation.sets.definition import read_definitions
from trainer.evaluation.validation import Validation
from trainer.model.adapter import Adapter

NUM = 12
LABELS = ("cat", "dog")
SETS = {
    "photos": {"layout": "jsonl", "annotations": "photos.jsonl", "images": "images"},
    "world": {"layout": "xm3600", "annotations": "world.jsonl", "images": "images"},
    "animals": {"layout": "class-folders", "images": "animals", "classes": "./animals.json"},
}


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three sets and a shard of the same pictures, a CLIP, and a store with CLIP's features of all texts."""
    folder = tmp_path_factory.mktemp("eval")
    save_clip(folder / "clip")
    (folder / "images").mkdir()
    for label in LABELS:
        (folder / "animals" / label).mkdir(parents=True)
    members = []
    for i in range(NUM):
        payload = encoded(picture(i))
        (folder / "images" / f"{i}.jpg").write_bytes(payload)
        (folder / "animals" / LABELS[i % 2] / f"{i}.jpg").write_bytes(payload)
        values = {"short": f"photo {i}", "long": f"a longer text of photo {i}", "label": LABELS[i % 2]}
        members += [(f"{i}.jpg", payload), (f"{i}.json", json.dumps(values).encode())]
    write_tar(folder / "shard.tar", members)
    rows = [{"image": f"{i}.jpg", "caption": [f"photo {i}", f"number {i} again"]} for i in range(NUM)]
    write_lines(folder / "photos.jsonl", [*rows, {"image": ["0.jpg", "1.jpg"], "caption": "the first two"}])
    languages = [{"en": {"caption": [f"a road {i}"]}, "de": {"caption": [f"Weg {i}", f"Pfad {i}"]}} for i in range(NUM)]
    write_lines(folder / "world.jsonl", [{"image/key": str(i), **row} for i, row in enumerate(languages)])
    classes = {"classes": {label: [label] for label in LABELS}, "templates": ["a {}.", "the {}."]}
    (folder / "animals.json").write_text(json.dumps(classes | {"primary": "mean_per_class"}))
    (folder / "sets.yaml").write_text(yaml.safe_dump({"sets": SETS}, sort_keys=False))
    (folder / "keys.txt").write_text("3\n5\n8\n")
    assert main(["eval-captions", "--sets", str(folder / "sets.yaml"), "--output", str(folder / "eval.jsonl")]) == 0
    embed(folder, "--captions", str(folder / "eval.jsonl"), "--caption-fields", "caption")
    embed(folder, "--shards", str(folder / "shard.tar"), "--caption-fields", "short", "long")
    main(["prompts", "--classes", str(folder / "animals.json"), "--output", str(folder / "prompts.jsonl")])
    embed(folder, "--captions", str(folder / "prompts.jsonl"), "--caption-fields", "prompt")
    return folder


def embed(folder, *source):
    options = ["--model", str(folder / "clip"), "--field-prefix", "clip", "--store", str(folder / "eval.store")]
    assert main(["embed", *source, *options, "--progress", "False"]) == 0


@pytest.fixture(scope="module")
def checkpoint(folder):
    """A stage 2 checkpoint: an adapter over CLIP's own text features, and an image tower that has moved."""
    torch.manual_seed(1)
    shape = {"dim_in": 16, "dim_out": 16, "num_blocks": 1, "expansion": 2}
    weights = {f"adapter.{name}": value for name, value in Adapter(**shape).state_dict().items()}
    tower = load_model(str(folder / "clip"), None).tower.model
    weights |= {f"image.{name}": value + 0.05 * torch.randn_like(value) for name, value in tower.state_dict().items()}
    spec = store.open(folder / "eval.store").fields()["clip/caption"].spec
    made_by = {name: getattr(spec, name) for name in ("model", "revision", "template", "pooling")}
    info = {"stage": "stage2", "step": 1, "adapter": shape, "embedder": made_by}
    save_checkpoint(folder / "run", {"model": weights}, info, 1)
    return folder / "run"


def run_eval(folder, name, *arguments):
    """The result file of ``keyclip eval``."""
    output = folder / f"{name}.json"
    status = main(
        ["eval", "--clip", str(folder / "clip"), "--store", str(folder / "eval.store"), "--embedder", "clip",
         "--teacher", "clip", "--name", name, "--output", str(output), *map(str, arguments)]
    )  # fmt: skip
    assert status == 0
    return json.loads(output.read_text())


@pytest.fixture(scope="module")
def clip_result(folder):
    return run_eval(folder, "clip-on-sets", "--sets", folder / "sets.yaml", "--examples", 2)


@pytest.fixture(scope="module")
def tuned_result(folder, checkpoint):
    return run_eval(folder, "tuned-on-sets", "--sets", folder / "sets.yaml", "--checkpoint", checkpoint)


def test_all_texts_of_all_sets_come_in_one_keyed_file(folder):
    rows = [json.loads(line) for line in (folder / "eval.jsonl").read_text().splitlines()]
    assert len(rows) == (2 * NUM + 1) + 3 * NUM + 2 * 2
    texts = {row["key"]: row["caption"] for row in rows}
    assert texts["photos/3#1"] == "number 3 again"
    assert texts["world/4#de#1"] == "Pfad 4"
    assert texts[prompt_key("dog", "the dog.")] == "the dog."


def test_the_counts_of_the_texts_are_told(folder, tmp_path, capsys):
    main(
        [
            "eval-captions",
            "--sets",
            str(folder / "sets.yaml"),
            "--only",
            "animals",
            "--output",
            str(tmp_path / "a.jsonl"),
        ]
    )
    assert capsys.readouterr().out == f"animals          4\n4 texts in {tmp_path / 'a.jsonl'}\n"
    animals = ["--sets", str(folder / "sets.yaml"), "--only", "animals", "--output", str(tmp_path / "a.jsonl")]
    assert main(["eval-captions", *animals, "--json", "--overwrite"]) == 0
    told = {"sets": {"animals": 4}, "num_texts": 4, "output": str(tmp_path / "a.jsonl")}
    assert json.loads(capsys.readouterr().out) == told
    assert main(["eval-captions", "--sets", str(folder / "sets.yaml"), "--output", str(tmp_path / "a.txt")]) == 1
    assert "must be the name of a .jsonl file" in capsys.readouterr().err


def test_a_set_that_cannot_be_read_leaves_the_older_texts_and_nothing_else(tmp_path, capsys):
    sets = {name: {"layout": "jsonl", "annotations": f"{name}.jsonl", "images": "i"} for name in ("good", "bad")}
    (tmp_path / "sets.yaml").write_text(yaml.safe_dump({"sets": sets}))
    write_lines(tmp_path / "good.jsonl", [{"image": "1.jpg", "caption": "half a pair \ud83d"}])
    output = tmp_path / "out" / "eval.jsonl"
    command = ["eval-captions", "--sets", str(tmp_path / "sets.yaml"), "--output", str(output)]
    assert main([*command, "--only", "good"]) == 0
    assert json.loads(output.read_bytes()) == {"key": "good/1#0", "caption": "half a pair \ud83d"}
    before = output.read_bytes()
    write_lines(tmp_path / "bad.jsonl", [{"image": "1.jpg", "caption": "x"}, {"image": "2.jpg", "caption": None}])
    assert main([*command, "--overwrite"]) == 1
    assert "a caption of image '2.jpg' is None; expected text" in capsys.readouterr().err
    assert [file.name for file in output.parent.iterdir()] == ["eval.jsonl"]
    assert output.read_bytes() == before


def test_prompts_are_counted_as_json(tmp_path, capsys):
    output = tmp_path / "prompts.jsonl"
    assert main(["prompts", "--classes", "cifar10", "--output", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"num_prompts": 180, "output": str(output)}
    assert len(output.read_text().splitlines()) == 180


def prompt_key(label, prompt):
    return f"animals/{label}/{store.caption_hash(prompt):016x}"


def features(folder, checkpoint=None):
    """Image features one by one, and a function from text keys to text features; without any of eval's own code."""
    model = load_model(str(folder / "clip"), checkpoint)
    transform = model.tower.transform
    payloads = [(folder / "images" / f"{i}.jpg").read_bytes() for i in range(NUM)]
    with torch.no_grad():
        pixels = [transform.normalize(torch.from_numpy(transform.evaluate(payload))[None]) for payload in payloads]
        images = torch.cat([F.normalize(model.tower.model(one).float(), dim=-1) for one in pixels])
    field = store.open(folder / "eval.store").field("clip/caption")

    def texts(keys):
        vectors = torch.from_numpy(field.get(keys, dtype="float32"))
        with torch.no_grad():
            return F.normalize(model.adapter(vectors) if model.adapter else vectors, dim=-1)

    return images, texts


@pytest.mark.parametrize("tuned", [False, True])
def test_a_sets_figures_are_what_a_loop_over_its_queries_gives(folder, clip_result, tuned_result, checkpoint, tuned):
    images, texts = features(folder, checkpoint if tuned else None)
    keys = [f"photos/{i}#{n}" for i in range(NUM) for n in range(2)] + ["photos/0#2"]
    owners = [{i} for i in range(NUM) for _ in range(2)] + [{0, 1}]
    ranks = []
    for scores, own in zip((texts(keys) @ images.T).tolist(), owners, strict=True):
        best = max(scores[i] for i in own)
        ranks.append(1 + sum(score >= best for i, score in enumerate(scores) if i not in own))
    found = (tuned_result if tuned else clip_result)["retrieval"]["photos"]["text_to_image"]
    assert found["R@1"] == pytest.approx(sum(rank <= 1 for rank in ranks) / len(ranks))
    assert found["R@5"] == pytest.approx(sum(rank <= 5 for rank in ranks) / len(ranks))
    assert found["mean_rank"] == pytest.approx(sum(ranks) / len(ranks))


def test_a_set_in_several_languages_has_each_and_their_mean(clip_result):
    languages = clip_result["languages"]["world"]
    assert languages.keys() == {"en", "de"}
    for way in ("image_to_text", "text_to_image"):
        mean = (languages["en"][way]["mean_rank"] + languages["de"][way]["mean_rank"]) / 2
        assert clip_result["retrieval"]["world"][way]["mean_rank"] == pytest.approx(mean)
    assert clip_result["sets"]["world"] == {
        "table": "multilingual", "num_images": NUM, "num_captions": 3 * NUM, "num_languages": 2, "num_missing": 0,
        "part": False,
    }  # fmt: skip


def test_zero_shot_figures_are_ensembled_over_the_templates(folder, clip_result):
    images, texts = features(folder)
    vectors = [texts([prompt_key(label, f"{word} {label}.") for word in ("a", "the")]).mean(dim=0) for label in LABELS]
    guesses = (images @ F.normalize(torch.stack(vectors), dim=-1).T).argmax(dim=1)
    right = [guesses[i].item() == i % 2 for i in range(NUM)]
    entry = clip_result["zeroshot_sets"]["animals"]
    assert entry["top1"] == pytest.approx(sum(right) / NUM)
    assert entry["mean_per_class"] == pytest.approx((sum(right[::2]) + sum(right[1::2])) / NUM)
    assert (entry["accuracy"], entry["primary"]) == (entry["mean_per_class"], "mean_per_class")
    assert (entry["num_classes"], entry["num_images"]) == (2, NUM)
    assert clip_result["zeroshot"]["accuracy"] == entry["accuracy"]


def test_the_drift_probe_looks_at_every_set_with_the_original_text_tower(clip_result, tuned_result):
    assert clip_result["drift_sets"] == clip_result["retrieval"]  # the untouched CLIP has not drifted
    assert tuned_result["drift_sets"].keys() == {"photos", "world"}
    assert tuned_result["drift_sets"]["photos"] != tuned_result["retrieval"]["photos"]
    means = [tuned_result["drift_sets"][name]["image_to_text"]["mean_rank"] for name in ("photos", "world")]
    assert tuned_result["drift"]["image_to_text"]["mean_rank"] == pytest.approx(sum(means) / 2)


def test_every_measure_has_an_interval_that_holds_it(tuned_result):
    for way in ("image_to_text", "text_to_image"):
        for measure in ("R@1", "R@10", "mean_rank", "median_rank"):
            low, high = tuned_result["intervals"]["retrieval"]["photos"][f"{way}/{measure}"]
            assert low <= tuned_result["retrieval"]["photos"][way][measure] <= high
    assert {"world/en", "world/de", "world", "photos", ""} == tuned_result["intervals"]["retrieval"].keys()
    low, high = tuned_result["intervals"]["zeroshot"][""]["accuracy"]
    assert low - 1e-9 <= tuned_result["zeroshot"]["accuracy"] <= high + 1e-9


def test_the_ranks_of_all_queries_are_kept(tuned_result):
    entry = tuned_result["queries"]["retrieval"]["photos"]["text_to_image"]
    ranks, groups = unpack(entry["ranks"]), unpack(entry["groups"])
    assert len(ranks) == 2 * NUM + 1
    assert ranks.mean() == pytest.approx(tuned_result["retrieval"]["photos"]["text_to_image"]["mean_rank"])
    assert groups.tolist() == [i for i in range(NUM) for _ in range(2)] + [0]
    assert measurements(tuned_result)["retrieval"]["photos"]["text_to_image/mean_rank"].value == ranks.mean()


def test_two_results_are_compared_query_by_query(clip_result, tuned_result):
    found = differences([tuned_result], [clip_result])
    one = found["retrieval"]["photos"]["text_to_image/mean_rank"]
    values = [r["retrieval"]["photos"]["text_to_image"]["mean_rank"] for r in (tuned_result, clip_result)]
    assert one.value == pytest.approx(values[0] - values[1])
    assert one.low < one.value < one.high
    same = differences([clip_result], [clip_result])
    assert all(
        d.within_noise and d.low == d.high == 0 for sets in same.values() for m in sets.values() for d in m.values()
    )


def test_examples_show_captions_of_the_first_set_with_their_rank(clip_result):
    first, last = clip_result["examples"]
    assert (first["query"], first["key"]) == ("photo 0", "0.jpg")
    assert (last["query"], last["key"]) == ("the first two", "0.jpg")
    for example in (first, last):
        correct = [hit["correct"] for hit in example["retrieved"]]
        assert len(correct) == 5
        assert correct.index(True) + 1 == example["rank"] if any(correct) else example["rank"] > 5
        assert all(hit["image"].startswith("data:image/jpeg;base64,") for hit in example["retrieved"])
        assert example["image"].startswith("data:image/jpeg;base64,")  # the sought one, found or not


def test_the_report_reads_the_result(folder, clip_result):
    result = load_result(folder / "clip-on-sets.json")
    assert (result.name, result.num_images) == ("clip-on-sets", 3 * NUM)
    assert result.retrieval.keys() == {"photos", "world"}


@pytest.fixture(scope="module")
def shard_result(folder):
    captions = ["short=short", "both=short,long"]
    return run_eval(
        folder, "on-shards", "--shards", folder / "shard.tar", "--captions", *captions,
        "--zeroshot", folder / "animals.json", "--parts", f"some={folder / 'keys.txt'}", "--resamples", 50,
    )  # fmt: skip


def test_shards_with_captions_in_their_json_give_the_same_figures(clip_result, shard_result):
    """The pictures and the prompts are those of the set `animals`."""
    assert shard_result["zeroshot_sets"]["animals"] == clip_result["zeroshot_sets"]["animals"]
    assert shard_result["sets"]["both"]["num_captions"] == 2 * NUM
    assert shard_result["examples"][0]["query"] == "photo 0"
    assert shard_result["num_images"] == NUM


def test_a_part_of_the_shards_is_a_set_of_its_own_that_counts_in_no_mean(folder, shard_result):
    images, _ = features(folder)
    vectors = store.open(folder / "eval.store").field("clip/short").get(["3", "5", "8"], dtype="float32")
    scores = F.normalize(torch.from_numpy(vectors), dim=-1) @ images[[3, 5, 8]].T
    ranks = 1 + (scores > scores.diagonal()[:, None]).sum(dim=1)
    found = shard_result["retrieval"]["short, some"]["text_to_image"]
    assert found["mean_rank"] == pytest.approx(ranks.double().mean().item())
    drifts = [shard_result["drift_sets"][name]["text_to_image"]["mean_rank"] for name in ("short", "both")]
    assert shard_result["drift"]["text_to_image"]["mean_rank"] == pytest.approx(sum(drifts) / 2)
    described = {"table": "zeroshot", "num_images": 3, "num_classes": 2, "part": True}
    assert shard_result["sets"]["animals, some"] == described
    assert 3 * shard_result["zeroshot_sets"]["animals, some"]["top1"] in (0, 1, 2, 3)
    assert shard_result["zeroshot"]["top1"] == shard_result["zeroshot_sets"]["animals"]["top1"]
    assert measurements(shard_result)["zeroshot"][""]["top1"].value == shard_result["zeroshot"]["top1"]
    whole = measurements(shard_result)["retrieval"]
    recalls = [whole[name]["recall"].value for name in ("short", "both")]
    assert whole[""]["recall"].value == pytest.approx(sum(recalls) / 2)


def test_results_on_other_captions_are_not_compared(clip_result, shard_result):
    other = json.loads(json.dumps(shard_result).replace('"both"', '"photos"'))
    with pytest.raises(ValueError, match="'clip-on-sets' and 'on-shards' were evaluated on other images or captions"):
        differences([clip_result], [other])


def test_some_sets_can_be_evaluated_alone_and_printed_as_json(folder, capsys):
    result = run_eval(
        folder, "alone", "--sets", folder / "sets.yaml", "--only", "animals", "--resamples", 0, "--json", True
    )
    printed = json.loads(capsys.readouterr().out)
    assert printed["zeroshot"] == result["zeroshot"]
    assert printed.keys() == result.keys() - {"examples", "queries"}
    assert (result["retrieval"], result["drift"]) == ({}, None)
    assert result["intervals"]["zeroshot"]["animals"] == {}


def failing(folder, capsys, *arguments) -> str:
    status = main(
        ["eval", "--clip", str(folder / "clip"), "--store", str(folder / "eval.store"), "--embedder", "clip",
         "--teacher", "clip", *map(str, arguments)]
    )  # fmt: skip
    assert status == 1
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give either --sets, a YAML file of evaluation sets, or --shards"),
        ({"sets": Path("a.yaml"), "shards": ("a.tar",)}, "give either --sets"),
        ({"sets": Path("a.yaml"), "captions": ("a=short",)}, "belong to --shards, not to --sets"),
        ({"shards": ("a.tar",), "only": ("photos",)}, "--only names sets of --sets"),
        ({"shards": ("a.tar",), "linear_probe": True}, "--linear-probe fits on sets of --sets"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Config(clip="clip", store=Path("s"), embedder="a", teacher="b", **settings)


def test_sets_that_do_not_exist_are_refused(folder, capsys):
    assert "no evaluation set 'coco'; there are " in failing(
        folder, capsys, "--sets", folder / "sets.yaml", "--only", "coco"
    )
    shards = ("--shards", folder / "shard.tar")
    assert "no caption set given" in failing(folder, capsys, *shards)
    assert "expected NAME=CAPTION_FIELD" in failing(folder, capsys, *shards, "--captions", "a/b=short")
    assert "device 'gpu' cannot be used" in failing(folder, capsys, "--sets", folder / "sets.yaml", "--device", "gpu")
    parts = ("--captions", "a=short", "--parts", f"none={folder / 'animals.json'}")
    assert "none of the 12 samples is in the key list" in failing(folder, capsys, *shards, *parts)


def test_two_caption_sets_or_parts_of_one_name_are_refused(folder, capsys):
    shards = ("--shards", folder / "shard.tar")
    error = failing(folder, capsys, *shards, "--captions", "a=short", "b=short", "a=long")
    assert "two caption sets are named 'a'; give each its own name, or pool their fields in one: a=short,long" in error
    parts = [f"p={folder / 'keys.txt'}"] * 2
    assert "two parts have one name" in failing(folder, capsys, *shards, "--captions", "a=short", "--parts", *parts)


def test_a_caption_set_may_be_called_as_the_classes_are(folder, shard_result):
    """Both are entries of one set then, and each has its own figures."""
    result = run_eval(
        folder, "one-name", "--shards", folder / "shard.tar", "--captions", "animals=short",
        "--zeroshot", folder / "animals.json", "--resamples", 0,
    )  # fmt: skip
    assert result["sets"]["animals"].keys() >= {"num_captions", "num_classes", "num_images", "part"}
    assert result["retrieval"]["animals"] == shard_result["retrieval"]["short"]
    assert result["zeroshot_sets"] == {"animals": shard_result["zeroshot_sets"]["animals"]}
    assert result["drift"] == shard_result["drift_sets"]["short"]


def test_texts_that_are_not_embedded_or_have_changed_are_refused(folder, tmp_path, capsys):
    rows = [json.loads(line) for line in (folder / "photos.jsonl").read_text().splitlines()]
    sets = {"sets": {"photos": SETS["photos"] | {"images": str(folder / "images")}}}
    (tmp_path / "sets.yaml").write_text(yaml.safe_dump(sets))
    write_lines(tmp_path / "photos.jsonl", [*rows, {"image": "2.jpg", "caption": "new"}])
    error = failing(folder, capsys, "--sets", tmp_path / "sets.yaml")
    assert "1 of 26 texts of set 'photos' have no vector in field 'clip/caption'" in error
    assert "first 'photos/2#2'; write them with `keyclip eval-captions`" in error
    write_lines(tmp_path / "photos.jsonl", [{"image": "0.jpg", "caption": "another text"}, *rows[1:]])
    error = failing(folder, capsys, "--sets", tmp_path / "sets.yaml")
    assert "the caption of sample 'photos/0#0' is not the one" in error


def test_vectors_of_other_captions_or_prompts_than_todays_are_refused_for_shards_too(folder, tmp_path, capsys):
    members = [("0.jpg", encoded(picture(0))), ("0.json", json.dumps({"short": "new", "label": "cat"}).encode())]
    shard = write_tar(tmp_path / "shard.tar", members)
    error = failing(folder, capsys, "--shards", shard, "--captions", "short=short")
    assert "the caption of sample '0' is not the one that field 'clip/short'" in error
    (tmp_path / "animals.json").write_text((folder / "animals.json").read_text().replace("the {}", "some {}"))
    shards = ("--shards", folder / "shard.tar", "--captions", "short=short")
    error = failing(folder, capsys, *shards, "--zeroshot", tmp_path / "animals.json")
    assert "the caption of sample 'cat/0/1' is not the one that field 'clip/prompt'" in error


def test_shards_without_captions_are_evaluated_on_the_vectors_of_their_keys(folder, shard_result, tmp_path):
    members = [(f"{i}.jpg", encoded(picture(i))) for i in range(NUM)]
    bare = ("--shards", write_tar(tmp_path / "bare.tar", members), "--captions", "short=short")
    result = run_eval(folder, "bare", *bare, "--resamples", 0, "--examples", 1)
    assert result["retrieval"]["short"] == shard_result["retrieval"]["short"]
    assert result["examples"][0]["query"] == ""


def test_an_image_that_cannot_be_decoded_is_named(folder, tmp_path, capsys):
    sets = {"sets": {"photos": SETS["photos"] | {"images": "images", "annotations": str(folder / "photos.jsonl")}}}
    (tmp_path / "sets.yaml").write_text(yaml.safe_dump(sets))
    (tmp_path / "images").mkdir()
    for i in range(NUM):
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / f"{i}.jpg")
    (tmp_path / "images" / "7.jpg").write_bytes(b"torn")
    assert f"'{tmp_path}/images/7.jpg': " in failing(folder, capsys, "--sets", tmp_path / "sets.yaml")
    (tmp_path / "images" / "3.jpg").unlink()
    error = failing(folder, capsys, "--sets", tmp_path / "sets.yaml")
    assert "1 of 12 images of set 'photos' are not in" in error
    assert "first '3.jpg'" in error


KINDS = ("add_obj", "add_att", "replace_obj", "replace_att", "replace_rel", "swap_obj", "swap_att")
OTHER_SETS = {
    "sketch": {"layout": "number-folders", "images": "numbered", "classes": "./animals.json", "table": "robustness"},
    "sugar": {"layout": "sugarcrepe", "annotations": "sugar", "images": "images"},
    "pairs": {"layout": "mmvp", "annotations": "mmvp"},
    "probed": {
        "layout": "class-folders", "images": "animals", "classes": "./animals.json", "only": "test.txt",
        "train": {"only": "train.txt"},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def others(folder, checkpoint):
    """Results of CLIP and of the checkpoint on sets of the other kinds, which use the same pictures."""
    for i in range(NUM):
        payload = encoded(picture(i))
        for place in (folder / "numbered" / str(i % 2), folder / "mmvp" / "MLLM_VLM Images" / "Color"):
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{i + 1}.jpg").write_bytes(payload)
    (folder / "sugar").mkdir()
    for kind in KINDS:
        rows = {i: {"filename": f"{i}.jpg", "caption": f"{kind} {i}", "negative_caption": f"no {i}"} for i in range(4)}
        (folder / "sugar" / f"{kind}.json").write_text(json.dumps(rows))
    lines = [f"{i + 1},Color,statement {i + 1}" for i in range(NUM)]
    (folder / "mmvp" / "Questions.csv").write_text("\n".join(["Question ID,Type,Statement", *lines, ""]))
    names = [f"{LABELS[i % 2]}/{i}" for i in range(NUM)]
    (folder / "test.txt").write_text("\n".join(names[8:]))
    (folder / "train.txt").write_text("\n".join(names[:8]))
    sets = folder / "others.yaml"
    sets.write_text(yaml.safe_dump({"sets": {"photos": SETS["photos"], **OTHER_SETS}}, sort_keys=False))
    assert main(["eval-captions", "--sets", str(sets), "--output", str(folder / "others.jsonl")]) == 0
    embed(folder, "--captions", str(folder / "others.jsonl"), "--caption-fields", "caption")
    options = ("--sets", sets, "--linear-probe", True, "--features", folder / "kept")
    return run_eval(folder, "clip-others", *options), run_eval(
        folder, "tuned-others", *options, "--checkpoint", checkpoint
    )


def test_each_table_holds_its_own_sets_and_their_average(others):
    clip, tuned = others
    tables = {name: entry["table"] for name, entry in tuned["sets"].items()}
    assert tables == {
        "photos": "retrieval", "sketch": "robustness", "sugar": "composition", "pairs": "fine_grained",
        "probed": "zeroshot",
    }  # fmt: skip
    averages = tuned["averages"]
    assert averages["retrieval"] == {"sets": ["photos"], **tuned["retrieval"]["photos"]}
    assert averages["zeroshot"]["sets"] == ["probed"]  # the robustness set does not count among the eleven
    assert averages["zeroshot"]["accuracy"] == tuned["zeroshot_sets"]["probed"]["accuracy"]
    assert averages["robustness"]["accuracy"] == tuned["robustness"]["sketch"]["accuracy"]
    assert set(averages) == {
        "retrieval",
        "zeroshot",
        "robustness",
        "composition",
        "fine_grained",
        "linear_probe",
        "cka",
    }
    assert set(clip["averages"]) == set(averages) - {"cka"}  # the untouched CLIP is not compared with itself


def test_composition_is_the_share_of_each_kind_and_their_mean(folder, others):
    images, texts = features(folder)
    entry = others[0]["composition"]["sugar"]
    shares = []
    for kind in KINDS:
        true, false = (texts([f"sugar/{kind}/{i}#{which}" for i in range(4)]) for which in ("caption", "negative"))
        shares.append(sum((images[i] @ true[i] > images[i] @ false[i]).item() for i in range(4)) / 4)
        assert entry["kinds"][kind] == {"accuracy": pytest.approx(shares[-1]), "num_samples": 4}
    assert list(entry["kinds"]) == list(KINDS)
    assert (entry["accuracy"], entry["num_samples"]) == (pytest.approx(sum(shares) / 7), 28)
    low, high = others[0]["intervals"]["composition"]["sugar/add_obj"]["accuracy"]
    assert low <= shares[0] <= high
    assert others[0]["averages"]["composition"]["kinds"]["swap_att"] == {"accuracy": pytest.approx(shares[-1])}


def test_a_pair_counts_when_both_of_its_texts_choose_their_image(folder, others):
    images, texts = features(folder)
    right = []
    for i in range(0, NUM, 2):
        scores = images[i : i + 2] @ texts([f"pairs/Color/{i + 1}", f"pairs/Color/{i + 2}"]).T
        right.append((scores.argmax(dim=0) == torch.arange(2)).all().item())
    entry = others[0]["fine_grained"]["pairs"]
    assert entry["kinds"] == {"Color": {"accuracy": pytest.approx(sum(right) / 6), "num_samples": 6}}


def test_a_linear_probe_is_measured_on_the_test_split_and_says_what_it_was_fitted_on(others):
    for result in others:
        entry = result["linear_probe"]["probed"]
        assert (entry["num_images"], entry["num_train"], entry["num_validation"]) == (4, 6, 2)
        assert entry["accuracy"] == entry["mean_per_class"]
        assert 1e-6 <= entry["C"] <= 1e6
        assert result["zeroshot_sets"]["probed"]["num_images"] == 4
        low, high = result["intervals"]["linear_probe"]["probed"]["accuracy"]
        assert low <= entry["accuracy"] <= high


def test_cka_compares_the_tuned_images_with_the_original_ones(folder, others, checkpoint):
    own, _ = features(folder, checkpoint)
    original, _ = features(folder)
    entry = others[1]["cka"]["photos"]
    assert entry == {"cka": pytest.approx(linear_cka(own, original), abs=1e-5), "num_images": NUM}
    assert entry["cka"] < 0.999


def test_all_tables_and_cka_are_printed(folder, others, checkpoint, capsys):
    run_eval(folder, "printed", "--sets", folder / "others.yaml", "--checkpoint", checkpoint)
    out = capsys.readouterr().out
    headings = [line.split("  ")[0] for line in out.split("with 95 % intervals")[1].splitlines()]
    for heading in ("retrieval", "zero-shot", "robustness", "composition", "fine-grained", "drift", "sugar/swap_att"):
        assert heading in headings
    assert f"CKA of tuned and original image features: photos {others[1]['cka']['photos']['cka']:.3f}" in out


def test_features_are_kept_for_each_set_and_tower_and_used_again(folder, others, checkpoint):
    files = sorted((folder / "kept").glob("*/*.npy"))
    assert len(files) == 2 * 6  # five sets and a train split, of two towers
    for file in files:
        np.save(file, np.ones_like(np.load(file)))
    options = ("--sets", folder / "others.yaml", "--only", "photos", "--features", folder / "kept")
    result = run_eval(folder, "kept-again", *options, "--checkpoint", checkpoint)
    assert result["retrieval"]["photos"]["text_to_image"]["R@1"] == 0  # all images are the same, and ties do not count


def test_other_kinds_of_sets_are_compared_query_by_query(others):
    found = differences([others[1]], [others[0]])
    for kind in ("robustness", "composition", "fine_grained", "linear_probe"):
        values = [result["averages"][kind]["accuracy"] for result in (others[1], others[0])]
        assert found[kind][""]["accuracy"].value == pytest.approx(values[0] - values[1])


def test_probes_without_a_train_split_are_refused(folder, capsys):
    error = failing(folder, capsys, "--sets", folder / "sets.yaml", "--linear-probe", True)
    assert "has a train split to fit a linear probe on; give a set one with 'train'" in error


def test_a_set_in_several_languages_has_an_average_of_its_own(clip_result):
    averages = clip_result["averages"]
    assert (averages["retrieval"]["sets"], averages["multilingual"]["sets"]) == (["photos"], ["world"])
    whole = measurements(clip_result)["retrieval"]
    assert whole[""]["recall"].value == pytest.approx(whole["photos"]["recall"].value)


def test_a_run_measures_on_its_way_what_eval_measures_at_its_end(folder, checkpoint):
    found = run_eval(folder, "tuned-again", "--sets", folder / "sets.yaml", "--checkpoint", checkpoint)
    model = load_model(str(folder / "clip"), checkpoint)
    join = Join(folder / "eval.store", ["clip/caption"])
    validation = Validation(5, read_definitions(folder / "sets.yaml"), join, model.embedder)
    assert [validation.is_due(step, step == 12) for step in (4, 5, 10, 12)] == [False, True, True, True]
    model.tower.model.train()
    values = validation.measure(model.tower, model.adapter, torch.device("cpu"))
    assert model.tower.model.training
    assert not model.adapter.training
    expected = {"animals/mean_per_class": found["zeroshot_sets"]["animals"]["mean_per_class"]}
    for name in ("photos", "world"):
        ways = found["retrieval"][name]
        expected |= {f"{name}/{way}_R@1": ways[way]["R@1"] for way in ways}
        expected[f"{name}/mean_rank"] = sum(of_way["mean_rank"] for of_way in ways.values()) / 2
    assert values.pop("eval/seconds") > 0

    def measure_locked():
        found = validation.measure(model.tower, model.adapter, torch.device("cpu"), locked=True)
        return {name: found[name] for name in values}

    assert measure_locked() == values
    model.tower.model.vision.visual_projection.weight.zero_()
    assert measure_locked() == values  # the images were encoded once
    assert values == pytest.approx({f"eval/{name}": value for name, value in expected.items()})


def test_a_run_measures_contrasts_on_its_way_too(folder, others):
    model = load_model(str(folder / "clip"), None)
    join = Join(folder / "eval.store", ["clip/caption"])
    definitions = [one for one in read_definitions(folder / "others.yaml") if one.name in ("sugar", "pairs")]
    validation = Validation(5, definitions, join, join.made_by)
    values = validation.measure(model.tower, torch.nn.Identity(), torch.device("cpu"))
    for kind, name in (("composition", "sugar"), ("fine_grained", "pairs")):
        assert values[f"eval/{name}/accuracy"] == pytest.approx(others[0][kind][name]["accuracy"])


def test_a_run_is_not_evaluated_on_the_vectors_of_another_model(folder):
    join = Join(folder / "eval.store", ["clip/caption"])
    with pytest.raises(ConfigError, match="the run's adapter was trained on vectors of 'other'"):
        Validation(5, read_definitions(folder / "sets.yaml"), join, join.made_by | {"model": "other", "revision": "x"})

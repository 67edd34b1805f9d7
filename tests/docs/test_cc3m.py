"""docs/cc3m.md, run on generated data of the same layout: tiny models, few steps, one rank."""

import json
import re
from pathlib import Path

import pytest

from store.sources.shards import iter_samples
from tests.docs.commands import ROOT, commands_in
from tests.docs.running import run
from tools.__main__ import main
from trainer.checkpoint.folder import find_checkpoint, read_checkpoint_info

DOCUMENT = ROOT / "docs" / "cc3m.md"
SHORT = ["shortSV_captions", "shortIB_captions", "shortLLA_captions", "raw_caption", "raw_caption"]
FEW_STEPS = ["--batch-size", "32", "--max-steps", "3", "--epochs", "9", "--workers", "0", "--precision", "fp32"]


def make_data(folder: Path) -> None:
    """cc3m/ as img2dataset downloads it; COCO, Urban-1k and Food-101 as their authors lay them out."""
    url_list = str(folder / "cc3m_3long_3short_1raw_captions_url.csv")
    assert main(["demo-download", "--output", str(folder / "cc3m"), "--table", url_list, "--urls", "150",
                 "--urls-per-shard", "50"]) == 0  # fmt: skip
    arguments = ["--split", "test", "--urls", "30", "--urls-per-shard", "30"]
    assert main(["demo-download", "--output", str(folder / "t"), "--table", str(folder / "t.csv"), *arguments]) == 0
    samples = list(iter_samples(str(folder / "t" / "00000.tar"), ["jpg", "json"]))
    images = []
    for number, (_, members) in enumerate(samples):
        about, food = json.loads(members["json"]), ("apple_pie", "waffles")[number % 2]
        sentences = [{"raw": about[name]} for name in SHORT]
        images.append({"filepath": "val2014", "filename": f"{number}.jpg", "split": "test", "sentences": sentences})
        write(folder / "coco" / "val2014" / f"{number}.jpg", members["jpg"])
        write(folder / "Urban1k" / "image" / f"{number}.jpg", members["jpg"])
        write(folder / "Urban1k" / "caption" / f"{number}.txt", about["longSV_captions"].encode())
        write(folder / "food-101" / "images" / food / f"{number}.jpg", members["jpg"])
    write(folder / "coco" / "dataset_coco.json", json.dumps({"images": images}).encode())
    [sets] = re.findall(r"^```yaml\n(# evaluation.yaml\n.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    write(folder / "evaluation.yaml", sets.encode())


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture(scope="module")
def folder(substitutes, tmp_path_factory):
    """Where every command of the document has run that can be."""
    folder = tmp_path_factory.mktemp("cc3m")
    smaller = {"{00000..00331}": "{00000..00002}", "1000000": "100"}
    make_data(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for shown in commands_in("docs/cc3m.md"):
            if shown.program != ("img2dataset",) and "--hostfile" not in shown.words:
                more = FEW_STEPS if shown.program[0] == "trainer" else []
                run(shown.replaced(substitutes | smaller, more))
    return folder


@pytest.mark.slow
def test_the_runs_are_finished_and_trained_on_the_good_samples(folder):
    good = len((folder / "cc3m-good.txt").read_text().split())
    assert 100 < good < 150
    assert len((folder / "cc3m-1m.txt").read_text().split()) == 100
    for name, stage in (("stage1", "stage1"), ("llm2clip", "stage2"), ("proclip", "stage2")):
        info = read_checkpoint_info(find_checkpoint(folder / "runs" / name))
        assert info["stage"] == stage
        assert info["step"] == 3


@pytest.mark.slow
def test_results_report_and_export_are_there(folder):
    for name, arm in (("clip", "CLIP"), ("llm2clip", "LLM2CLIP"), ("proclip", "ProCLIP")):
        result = json.loads((folder / "results" / f"{name}.json").read_text())
        assert result["name"] == arm
        assert set(result["retrieval"]) == {"coco", "urban1k"}
    assert "ProCLIP" in (folder / "report.html").read_text()
    assert (folder / "proclip-vit-l-14" / "model.safetensors").exists()

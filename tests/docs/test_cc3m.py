"""docs/cc3m.md, run on generated data of the same layout: tiny models, few steps, one rank."""

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from store.shards import iter_samples
from tests.docs.commands import ROOT, Shown, commands_in
from tools.__main__ import main
from trainer.run_folder import find_checkpoint, read_checkpoint_info

CAPTIONS = ["shortSV_captions", "shortIB_captions", "shortLLA_captions", "raw_caption", "longSV_captions"]
FEW_STEPS = ["--batch-size", "32", "--max-steps", "3", "--epochs", "9", "--workers", "0", "--precision", "fp32"]


def make_data(folder: Path) -> None:
    """cc3m/ as img2dataset downloads it, and coco/ with five captions in a list."""
    url_list = str(folder / "cc3m_3long_3short_1raw_captions_url.csv")
    assert main(["demo-download", "--output", str(folder / "cc3m"), "--table", url_list, "--urls", "150",
                 "--urls-per-shard", "50"]) == 0  # fmt: skip
    arguments = ["--split", "test", "--urls", "30", "--urls-per-shard", "30"]
    assert main(["demo-download", "--output", str(folder / "t"), "--table", str(folder / "t.csv"), *arguments]) == 0
    (folder / "coco").mkdir()
    with tarfile.open(folder / "coco" / "00000.tar", "w") as tar:
        for key, members in iter_samples(str(folder / "t" / "00000.tar"), ["jpg", "json"]):
            about = json.loads(members["json"])
            captions = json.dumps({"captions": [about[name] for name in CAPTIONS]}).encode()
            for extension, payload in (("jpg", members["jpg"]), ("json", captions)):
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size = len(payload)
                tar.addfile(info, io.BytesIO(payload))


def run(shown: Shown) -> None:
    """keyclip in this process, ranks in one of their own."""
    if shown.words[0] == "keyclip":
        assert main(shown.words[1:]) == 0, shown
        return
    module, *words = shown.words[shown.words.index("--module") + 1 :]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", module, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]


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
        assert "coco" in result["retrieval"]
    assert "ProCLIP" in (folder / "report.html").read_text()
    assert (folder / "proclip-vit-l-14" / "model.safetensors").exists()

"""docs/getting-started.md, from a folder of photos to an exported CLIP: small models, few steps, one rank."""

import json

import pytest

from store.sources.shards import iter_samples
from tests.docs.commands import commands_in
from tests.docs.running import run
from tests.embedder.small_models import save_clip
from tools.__main__ import main
from tools.commands.demo import packaged_encoder

FEW_STEPS = ["--max-steps", "3", "--workers", "0", "--precision", "fp32"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder in which every command of the page has run."""
    folder = tmp_path_factory.mktemp("photos")
    save_clip(folder / "clip")
    assert main(["demo-data", "--output", str(folder / "scenes"), "--splits", "finetune=150"]) == 0
    (folder / "photos").mkdir()
    for key, members in iter_samples(str(folder / "scenes" / "finetune" / "70000.tar"), ["jpg", "json"]):
        (folder / "photos" / f"{key}.jpg").write_bytes(members["jpg"])
        (folder / "photos" / f"{key}.txt").write_text(json.loads(members["json"])["shortSV_captions"])
    substitutes = {
        "sentence-transformers/all-MiniLM-L6-v2": packaged_encoder(),
        "openai/clip-vit-base-patch32": str(folder / "clip"),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HF_HUB_OFFLINE", "1")
        for shown in commands_in("docs/getting-started.md"):
            run(shown.replaced(substitutes, FEW_STEPS if shown.program[0] == "trainer" else []))
    return folder


@pytest.mark.slow
def test_the_page_ends_with_a_report_and_an_exported_clip(folder):
    assert len((folder / "good.txt").read_text().split()) == 150
    for name in ("clip", "proclip"):
        assert set(json.loads((folder / "results" / f"{name}.json").read_text())["retrieval"]) == {"all"}
    assert "ProCLIP" in (folder / "report.html").read_text()
    assert (folder / "proclip-vit-b-32" / "model.safetensors").exists()

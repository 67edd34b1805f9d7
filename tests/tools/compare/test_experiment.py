"""A small comparison under the real launcher: what is done is kept, what is added is done."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests import ROOT
from tests.embedder.small_models import save_clip
from tests.trainer.examples import JOINT_DIM, add_field, make_store, write_shard
from tools.__main__ import main
from tools.compare.arms import ARMS
from trainer.checkpoint.folder import find_checkpoint, read_checkpoint_info

KEYS = [f"{i:09d}" for i in range(48)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Shards, a store that holds their vectors, a CLIP of random weights, and settings for batches of 8."""
    folder = tmp_path_factory.mktemp("compare")
    save_clip(folder / "clip")
    for i in range(2):
        write_shard(folder / f"{i:05d}.tar", KEYS[24 * i : 24 * i + 24])
    make_store(folder / "captions.store", KEYS)
    (folder / "part.txt").write_text("\n".join(KEYS[24:30]))
    (folder / "small.yaml").write_text("batch_size: 8\ncheckpoint_every: 1\nlog_every: 1\n")
    return folder


def arguments(folder, output, *more):
    return [
        "compare", "--output", str(output), "--clip", str(folder / "clip"), "--store", str(folder / "captions.store"),
        "--finetune-shards", str(folder / "00000.tar"), "--test-shards", str(folder / "00001.tar"),
        "--caption-fields", "short", "long", "--eval-captions", "short=short", "both=short,long",
        "--test-parts", f"six={folder}/part.txt", "--stage1-steps", "3", "--stage2-steps", "2",
        "--stage1-config", str(folder / "small.yaml"), "--stage2-config", str(folder / "small.yaml"), *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def compared(folder, tmp_path_factory):
    """The output of three arms, one of which is only the stage 1 that another begins with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        output = tmp_path_factory.mktemp("output") / "small"
        command = arguments(folder, output, "--arms", "clip", "stage1", "fixed", "--finetune-samples", "16")
        assert main(command) == 0
        yield output, command


def files(output):
    return {file.relative_to(output): file.stat().st_mtime_ns for file in output.rglob("*") if file.is_file()}


def test_every_arm_has_a_result_on_every_set_and_part(compared):
    output, _ = compared
    for name, file in (("CLIP", "results/clip"), ("stage 1 only", "seed-0/results/stage1")):
        result = json.loads((output / f"{file}.json").read_text())
        assert result["name"] == (name if name == "CLIP" else f"{name} (seed 0)")
        trained = result["training"]
        assert trained is None if name == "CLIP" else (trained["arm"], trained["recipe"]) == ("stage1", "demo")
        assert list(result["retrieval"]) == ["short", "short, six", "both", "both, six"]
        assert result["num_images"] == 24
        # of six images, the worst possible rank is 6; of 24, some rank is worse
        assert result["retrieval"]["short, six"]["text_to_image"]["mean_rank"] <= 6
        assert result["retrieval"]["short"]["text_to_image"]["mean_rank"] > 6


def test_the_arms_of_a_seed_had_their_budgets_and_shared_stage_1(compared):
    output, _ = compared
    assert sorted(path.name for path in (output / "seed-0").iterdir() if path.is_dir()) == [
        "fixed",
        "results",
        "stage1",
    ]
    steps = {run: len((output / "seed-0" / run / "log.jsonl").read_text().splitlines()) for run in ("stage1", "fixed")}
    assert steps == {"stage1": 3, "fixed": 2}


def test_the_arms_share_an_adapter_and_their_checkpoints_say_which_arm_and_recipe_they_are(compared):
    output, _ = compared
    for arm, lambda_reg in (("stage1", None), ("fixed", 4e-4)):
        info = read_checkpoint_info(find_checkpoint(output / "seed-0" / arm))
        assert (info["arm"], info["recipe"], info["config"].get("lambda_reg")) == (arm, "demo", lambda_reg)
        assert (info["adapter"]["num_blocks"], info["adapter"]["expansion"]) == (4, 2)


def test_the_ledger_counts_what_was_read(compared):
    output, _ = compared
    uses = {use["field"]: use for use in json.loads((output / "reuse.json").read_text())["fields"]}
    # stage 1: 3 steps of 8; stage 2: half of 2 steps of 8; two arms evaluate 24 captions in both sets
    assert uses["llm/short"] == {
        "field": "llm/short", "num_vectors": 48, "num_embedded": 0, "trainings": 2, "evaluations": 2,
        "num_reads": 24 + 8 + 2 * 2 * 24,
    }  # fmt: skip
    # stage 1; in both sets CLIP's own text side, and the drift probe of three arms
    assert uses["clip/short"]["num_reads"] == 24 + 2 * 24 + 3 * 2 * 24


def test_the_same_command_again_changes_only_the_report(compared, capsys):
    output, command = compared
    before = files(output)
    assert main(command) == 0
    changed = {str(name) for name, time in files(output).items() if before.get(name) != time}
    assert changed == {"report.html", "reuse.json", "seed-0/finetune-keys.txt"}
    printed = capsys.readouterr().out
    assert "stage2 in" in printed
    assert "deepspeed" not in printed
    table = printed[printed.index("Held-out results") :].splitlines()
    rule = next(index for index, line in enumerate(table) if line.startswith("---"))
    arms = [line.split("  ")[0] for line in table[rule + 1 : rule + 4]]
    assert arms == ["CLIP", "stage 1 only", "ProCLIP, fixed teacher"]


def test_other_settings_are_refused(compared, capsys):
    output, command = compared
    assert main([*command, "--stage2-steps", "4"]) == 1
    assert (
        f"'{output}' holds a comparison with other settings (stage2_steps 2 there, 4 here)" in capsys.readouterr().err
    )


@pytest.mark.slow
def test_two_base_models_at_two_data_sizes_are_four_comparisons_in_one_report(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    output = tmp_path / "grid"
    command = arguments(folder, output, "--arms", "clip", "stage1@num_blocks=1", "--finetune-samples", "8", "16")
    at = command.index("--clip") + 1
    command[at : at + 1] = [f"clip={folder / 'clip'}", f"again={folder / 'clip'}"]
    make_store(tmp_path / "both.store", KEYS)
    for field in ("short", "long"):
        add_field(tmp_path / "both.store", f"again/{field}", KEYS, JOINT_DIM, kind="clip-text")
    command[command.index(str(folder / "captions.store"))] = str(tmp_path / "both.store")
    assert main(command) == 0
    results = {str(path.relative_to(output)): json.loads(path.read_text()) for path in output.glob("**/results/*.json")}
    points = [(base, size) for base in ("clip", "again") for size in (8, 16)]
    arm, title = "stage1@num_blocks=1", "stage 1 only (num_blocks=1)"
    expected = {f"{base}/results/clip.json": f"CLIP, {base}" for base in ("clip", "again")}
    for base, size in points:
        expected[f"{base}/{size}-samples/seed-0/results/{arm}.json"] = f"{title}, {base}, {size} samples (seed 0)"
    assert {file: result["name"] for file, result in results.items()} == expected
    trained = {file: result["training"]["datasets"] for file, result in results.items() if result["training"]}
    for file, datasets in trained.items():
        (dataset,) = datasets.values()
        assert f"/{dataset['samples']}-samples/" in file
    table = capsys.readouterr().out.split("Held-out results")[1]
    assert all(result["name"].split(" (seed")[0] in table for result in results.values())


@pytest.mark.slow
def test_a_comparison_of_all_arms_and_two_seeds_that_is_killed_goes_on(folder, tmp_path):
    output = tmp_path / "all"
    command = [sys.executable, "-m", "tools", *arguments(folder, output, "--seeds", "0", "1")]
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(output.glob("seed-0/llm2clip/checkpoints/step-*")) and process.poll() is None:
        time.sleep(0.05)
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in family:
        member.send_signal(signal.SIGKILL)
    process.wait()
    psutil.wait_procs(family, timeout=30)
    finished = files(output / "seed-0" / "lit")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert files(output / "seed-0" / "lit") == finished
    table = done.stdout[done.stdout.index("Held-out results") :]
    assert all(any(line.startswith(arm.title) for line in table.splitlines()) for arm in ARMS.values())
    assert "standard deviation over seeds (2 seeds)" in table
    for seed in (0, 1):
        runs = {path.parent.name for path in output.glob(f"seed-{seed}/*/log.jsonl")}
        assert runs == {*ARMS, "stage1@structure=False"} - {"clip"}

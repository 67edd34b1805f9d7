"""The whole chain with real parts: generated scenes, MiniLM, LMDB, `deepspeed --num_gpus 2`; and kill -9 on the way."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import torch
from transformers import CLIPVisionModelWithProjection

import store
from tests import ROOT
from tests.processes import Process, run, run_ranks
from tools.__main__ import main
from tools.commands.demo import packaged_encoder
from trainer.checkpoint.export import load_adapter
from trainer.checkpoint.folder import find_checkpoint, list_checkpoints, read_checkpoint_info, read_tensors
from trainer.checkpoint.model import load_model
from trainer.evaluation.sets.class_names import read_classes

SPLITS = ["pretrain=128", "texts=16", "finetune=256", "test=24"]
SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
EXTENSIONS = tempfile.mkdtemp(prefix="torch-extensions-")
ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TORCH_EXTENSIONS_DIR": EXTENSIONS,
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    assert main(["demo-data", "--output", str(folder), "--splits", *SPLITS]) == 0
    return folder


def demo_arguments(scenes, output):
    return [
        "-m", "tools", "demo", "--output", str(output), "--pretrain-epochs", "2",
        "--pretrain-shards", f"{scenes}/pretrain/*.tar", "--finetune-shards", f"{scenes}/finetune/*.tar",
        "--test-shards", f"{scenes}/test/*.tar", "--zeroshot", f"{scenes}/classes.json",
        "--stage1-texts", f"{scenes}/texts.jsonl", "--stage1-fields", "shortSV_captions", "raw_caption",
        "--arms", "clip", "llm2clip", "stage1", "proclip", "--stage1-steps", "6", "--stage2-steps", "4",
        "--caption-fields", "shortSV_captions", "raw_caption", "--eval-captions", "short=shortSV_captions",
    ]  # fmt: skip


def kill_tree(process):
    """kill -9 for a process and everything it started."""
    try:
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            member.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    process.wait()
    psutil.wait_procs(family, timeout=30)


@pytest.fixture(scope="module")
def demo(scenes, tmp_path_factory):
    """The demo, killed twice on the way and started again with the same command."""
    output = tmp_path_factory.mktemp("demo") / "run"
    for seconds in (6, 16):
        process = Process(demo_arguments(scenes, output), ENVIRONMENT)
        time.sleep(seconds)
        kill_tree(process)
    done = run(demo_arguments(scenes, output), ENVIRONMENT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return output, done.stdout


def test_the_demo_ends_with_the_table_of_all_arms_and_names_the_report(demo):
    output, printed = demo
    table = printed[printed.index("Held-out results") :]
    for arm in ("CLIP", "LLM2CLIP", "stage 1 only", "ProCLIP"):
        assert any(line.startswith(arm) for line in table.splitlines())
    assert f"report: {output / 'report.html'}" in table
    assert (output / "report.html").read_text().lstrip().lower().startswith("<!doctype html>")


def test_after_kills_no_key_is_missing_or_double(demo, scenes):
    output, _ = demo
    opened = store.open(output / "captions.store")
    fields = opened.fields()
    assert set(fields) == {
        f"{m}/{f}" for m in ("minilm", "clip") for f in ("shortSV_captions", "raw_caption", "prompt")
    }
    prompts = len(list(read_classes(scenes / "classes.json").prompts()))
    held = {"prompt": prompts, "shortSV_captions": 256 + 24 + 16, "raw_caption": 256 + 16}  # test: what is asked for
    for name in fields:
        keys = opened.field(name).keys()
        assert max(Counter(keys).values()) == 1
        assert len(keys) == held[name.partition("/")[2]]
        assert opened.field(name).get(keys).shape == (len(keys), fields[name].dim)


def test_nothing_was_compiled_whose_lock_a_killed_process_could_leave_behind(demo):
    assert not list(Path(EXTENSIONS).iterdir())


def test_every_run_logged_each_step_once_and_finished(demo):
    output, _ = demo
    for name in ("stage1", "proclip", "llm2clip"):
        folder = output / "seed-0" / name
        steps = [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]
        assert steps == sorted(set(steps))
        assert read_checkpoint_info(find_checkpoint(folder))["finished"]


def test_llm2clip_and_proclip_had_the_same_budget(demo):
    output, _ = demo
    infos = [read_checkpoint_info(find_checkpoint(output / "seed-0" / run)) for run in ("proclip", "llm2clip")]
    assert infos[0]["samples"] == infos[1]["samples"] > 0
    assert infos[0]["config"]["lambda_reg"] > 0
    assert infos[1]["config"]["lambda_reg"] == 0


def stage2_arguments(demo, scenes, output, *more):
    folder, _ = demo
    return [
        str(Path(sys.executable).with_name("deepspeed")), "--num_gpus=2", f"--master_port={23000 + os.getpid() % 5000}",
        "--module", "trainer", "stage2", "--output", str(output), "--shards", f"{scenes}/finetune/*.tar",
        "--store", str(folder / "captions.store"), "--fields", "minilm/shortSV_captions", "minilm/raw_caption",
        "--clip", str(folder / "clip" / "clip"), "--stage1", str(folder / "seed-0" / "stage1"),
        "--batch-size", "16", "--epochs", "1", "--max-steps", "14", "--learning-rate", "1e-3", "--ema-momentum", "0.9",
        "--workers", "1", "--log-every", "1", "--checkpoint-every", "4", *more,
    ]  # fmt: skip


def run_two_ranks(demo, scenes, output):
    """The same command without the launcher."""
    arguments = stage2_arguments(demo, scenes, output)
    ranks = run_ranks(*arguments[arguments.index("trainer") :])
    assert [rank.returncode for rank in ranks] == [0, 0], ranks[0].stderr[-3000:]


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_killed_stage_2_resumes_to_bit_equal_losses_and_weights(demo, scenes, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    options = {"cwd": ROOT, "env": ENVIRONMENT | {"PATH": path}, **SILENT}
    run_two_ranks(demo, scenes, whole)
    process = subprocess.Popen(stage2_arguments(demo, scenes, broken), **options)
    while not list_checkpoints(broken) and process.poll() is None:
        time.sleep(0.02)
    kill_tree(process)
    killed_at = read_checkpoint_info(find_checkpoint(broken))["step"]
    assert killed_at < 14, "the run ended before it could be killed"
    run_two_ranks(demo, scenes, broken)
    assert len(losses(whole)) == 14
    assert losses(broken) == losses(whole)
    for name in ("model", "optimizer", "teacher"):
        one, other = (read_tensors(find_checkpoint(run), name) for run in (whole, broken))
        assert one.keys() == other.keys()
        assert all(bool((one[key] == other[key]).all()) for key in one)


def test_a_run_that_is_asked_to_stop_saves_its_state_first(demo, tmp_path):
    output, (folder, _) = tmp_path / "run", demo
    command = [
        "-m", "trainer", "stage1", "--output", str(output), "--store", str(folder / "captions.store"),
        "--fields", "minilm/raw_caption", "--teacher-fields", "clip/raw_caption", "--batch-size", "32",
        "--epochs", "100000", "--workers", "0", "--log-every", "1", "--checkpoint-every", "1000000",
    ]  # fmt: skip
    process = Process(command, ENVIRONMENT)
    while not (output / "log.jsonl").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "asked to stop; saved after step" in printed
    info = read_checkpoint_info(find_checkpoint(output))
    assert info["step"] == len(losses(output)) > 0
    assert not info["finished"]


def failing_sentence(command):
    done = run(command, ENVIRONMENT)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("keyclip: error: ")]
    assert len(errors) == 1
    assert "Traceback" not in done.stderr
    return errors[0]


def one_rank(demo, scenes, output, *more):
    """The same command on one rank, without a launcher."""
    arguments = stage2_arguments(demo, scenes, output, *more)
    return ["-m", *arguments[arguments.index("trainer") :]]


def test_a_checkpoint_of_the_wrong_stage_is_refused(demo, scenes, tmp_path):
    wrong = str(demo[0] / "seed-0" / "proclip")
    error = failing_sentence(one_rank(demo, scenes, tmp_path / "run", "--stage1", wrong))
    assert "is a checkpoint of stage2; --stage1 takes one of stage1" in error


def test_a_key_that_the_store_lacks_is_refused_before_the_first_step(demo, scenes, tmp_path):
    more = ("--shards", f"{scenes}/finetune/*.tar", f"{scenes}/pretrain/*.tar")
    error = failing_sentence(one_rank(demo, scenes, tmp_path / "run", *more))
    assert "128 of 384 keys have no vector in field 'minilm/shortSV_captions'" in error
    assert "keyclip embed" in error


def test_a_shard_that_does_not_exist_is_refused(demo, scenes, tmp_path, capsys):
    arguments = ["embed", "--shards", str(tmp_path / "none.tar"), "--caption-fields", "caption"]
    assert main([*arguments, "--model", packaged_encoder(), "--store", str(tmp_path / "s")]) == 1
    assert "no such shard" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_a_json_without_the_caption_field_is_refused(scenes, tmp_path, capsys):
    arguments = ["embed", "--shards", f"{scenes}/test/*.tar", "--caption-fields", "captions.0"]
    assert main([*arguments, "--model", packaged_encoder(), "--store", str(tmp_path / "s")]) == 1
    error = capsys.readouterr().err
    assert "no caption field 'captions.0'" in error
    assert "shortSV_captions" in error


def test_a_field_made_with_another_model_is_refused(demo, scenes, capsys):
    clip = str(demo[0] / "clip" / "clip")
    arguments = ["embed", "--shards", f"{scenes}/test/*.tar", "--caption-fields", "shortSV_captions", "--model", clip]
    assert main([*arguments, "--field-prefix", "minilm", "--store", str(demo[0] / "captions.store")]) == 1
    error = capsys.readouterr().err
    assert "keyclip: error:" in error
    assert "model" in error
    assert "dim" in error


def test_an_export_loads_in_transformers_and_computes_the_same(demo, scenes, tmp_path):
    folder, _ = demo
    output = tmp_path / "exported"
    arguments = ["--clip", str(folder / "clip" / "clip"), "--checkpoint", str(folder / "seed-0" / "proclip")]
    assert main(["export", *arguments, "--output", str(output)]) == 0
    model = load_model(str(folder / "clip" / "clip"), folder / "seed-0" / "proclip")
    vision = CLIPVisionModelWithProjection.from_pretrained(output)
    pixels = torch.randn(2, 3, 64, 64)
    close = {"rtol": 1e-5, "atol": 1e-5}  # equal weights, whose place in memory may choose other kernels
    torch.testing.assert_close(vision(pixel_values=pixels).image_embeds, model.tower.model(pixels), **close)
    vectors = torch.from_numpy(store.open(folder / "captions.store").field("minilm/raw_caption").get(["700000000"]))
    torch.testing.assert_close(load_adapter(output)(vectors), model.adapter(vectors), **close)
    assert main(["export", *arguments, "--output", str(output)]) == 1

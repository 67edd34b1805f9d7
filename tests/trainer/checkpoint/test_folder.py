"""A run's folder: what continues it, what is refused, and checkpoints that are whole or not there."""

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from store.common.errors import CheckpointError, ConfigError
from trainer.checkpoint.folder import (
    find_checkpoint,
    list_checkpoints,
    prepare,
    read_checkpoint_info,
    read_tensors,
    save_checkpoint,
    trim_log,
)
from trainer.settings.config import RunConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(RunConfig):
    fields: tuple[str, ...] = ("llm/short",)
    stage1: Path | None = None


@pytest.fixture
def config(tmp_path) -> Config:
    return Config(output=tmp_path / "run", stage1=Path("runs/stage1"))


def save(run: Path, step: int, keep: int = 2, **info: object) -> Path:
    tensors = {"model": {"weight": torch.full((2, 3), float(step))}, "optimizer": {"weight/exp_avg": torch.zeros(2, 3)}}
    return save_checkpoint(run, tensors, {"stage": "stage1", "step": step, **info}, keep)


def names(run: Path) -> list[str]:
    return sorted(entry.name for entry in (run / "checkpoints").iterdir())


def test_a_new_run_holds_its_effective_config(config):
    prepare(config.output, "stage1", config)
    settings = json.loads((config.output / "config.json").read_text())
    assert settings["stage"] == "stage1"
    assert settings["fields"] == ["llm/short"]
    assert settings["stage1"] == "runs/stage1"
    assert settings["learning_rate"] == 1e-5
    assert settings["seed"] == 0


def test_the_same_settings_continue_a_run(config):
    prepare(config.output, "stage1", config)
    save(config.output, 10)
    prepare(config.output, "stage1", config)
    assert [folder.name for folder in list_checkpoints(config.output)] == ["step-00000010"]


def test_settings_that_change_no_result_may_differ(config):
    prepare(config.output, "stage1", config)
    save(config.output, 10)
    other = replace(config, workers=7, threads=3, log_every=1, checkpoint_every=5, keep_checkpoints=1)
    prepare(config.output, "stage1", other)
    assert json.loads((config.output / "config.json").read_text())["workers"] == 7


def test_a_run_that_was_moved_continues(config, tmp_path):
    prepare(config.output, "stage1", config)
    save(config.output, 10)
    moved = config.output.rename(tmp_path / "moved")
    prepare(moved, "stage1", replace(config, output=moved))


def test_other_settings_are_refused_naming_each_that_differs(config):
    prepare(config.output, "stage1", config)
    save(config.output, 10)
    with pytest.raises(ConfigError) as caught:
        prepare(config.output, "stage2", replace(config, seed=3, fields=("llm/long",), workers=5))
    assert str(caught.value) == (
        f"{str(config.output)!r} holds a run with other settings (fields ['llm/short'] there, ['llm/long'] here; "
        "seed 0 there, 3 here; stage 'stage1' there, 'stage2' here); "
        "give the same settings to continue it, or another --output"
    )
    assert json.loads((config.output / "config.json").read_text())["seed"] == 0


def test_settings_may_be_mended_as_long_as_there_is_no_checkpoint(config):
    """A start that failed, for a wrong setting say, must not block the folder for the right one."""
    prepare(config.output, "stage1", config)
    (config.output / "tokenizer").mkdir()
    (config.output / "tokenizer" / "tokenizer.json").write_text("made from the first settings")
    prepare(config.output, "stage1", replace(config, seed=3))
    assert json.loads((config.output / "config.json").read_text())["seed"] == 3
    assert not (config.output / "tokenizer").exists()


def test_what_an_interrupted_start_made_is_kept_for_the_same_settings(config):
    prepare(config.output, "stage1", config)
    (config.output / "tokenizer").mkdir()
    prepare(config.output, "stage1", config)
    assert (config.output / "tokenizer").exists()


def test_a_folder_with_other_files_is_refused_and_left_alone(config):
    config.output.mkdir()
    (config.output / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match="exists and holds no run of this command; give another --output"):
        prepare(config.output, "stage1", config)
    assert [entry.name for entry in config.output.iterdir()] == ["letter.txt"]


def test_a_checkpoint_gives_back_what_was_saved(tmp_path):
    shape = {"dim_in": 3, "dim_out": 2, "num_blocks": 4, "expansion": 2}
    folder = save(tmp_path, 7, adapter=shape)
    assert folder == tmp_path / "checkpoints" / "step-00000007"
    info = read_checkpoint_info(folder)
    assert (info["step"], info["stage"], info["adapter"]) == (7, "stage1", shape)
    assert torch.equal(read_tensors(folder, "model")["weight"], torch.full((2, 3), 7.0))
    assert set(read_tensors(folder, "optimizer")) == {"weight/exp_avg"}


def test_tensors_that_are_views_are_saved_as_what_they_show(tmp_path):
    whole = torch.arange(6.0).view(2, 3)
    save_checkpoint(tmp_path, {"model": {"transposed": whole.T, "row": whole[1]}}, {"step": 1}, 1)
    saved = read_tensors(find_checkpoint(tmp_path), "model")
    assert saved["transposed"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert saved["row"].tolist() == [3, 4, 5]


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    for step in (5, 10, 15, 100):
        save(tmp_path, step)
    assert names(tmp_path) == ["step-00000015", "step-00000100"]
    assert find_checkpoint(tmp_path).name == "step-00000100"


def test_the_same_step_saved_again_replaces_the_checkpoint(tmp_path):
    save(tmp_path, 5, mark="old")
    save(tmp_path, 5, mark="new")
    assert names(tmp_path) == ["step-00000005"]
    assert read_checkpoint_info(find_checkpoint(tmp_path))["mark"] == "new"


@pytest.mark.parametrize("killed_after", ["model.safetensors", "optimizer.safetensors", ".unfinished-checkpoint"])
def test_a_kill_between_files_leaves_the_checkpoint_before(tmp_path, killed_after):
    save(tmp_path, 5)
    torn = tmp_path / "checkpoints" / ".step-00000010.tmp"
    torn.mkdir()
    for name in ("model.safetensors", "optimizer.safetensors", ".unfinished-checkpoint"):
        (torn / name).write_bytes(b"torn")
        if name == killed_after:
            break
    assert find_checkpoint(tmp_path).name == "step-00000005"
    save(tmp_path, 10)
    assert names(tmp_path) == ["step-00000005", "step-00000010"]
    assert read_tensors(find_checkpoint(tmp_path), "model")["weight"][0, 0] == 10


def test_nothing_of_a_checkpoint_is_seen_before_all_of_it_is_written(tmp_path, monkeypatch):
    """At every file that is synchronised to disk, the newest checkpoint is still the one before."""
    save(tmp_path, 5)
    seen = []

    def sync(descriptor: int) -> None:
        seen.append(find_checkpoint(tmp_path).name)

    monkeypatch.setattr(os, "fsync", sync)
    save(tmp_path, 10)
    # two files of tensors, the json and the folder with its name, that folder again; then the one with the new name
    assert seen == ["step-00000005"] * 5 + ["step-00000010"]


def test_a_kill_while_an_old_checkpoint_is_dropped_leaves_no_torn_one(tmp_path, monkeypatch):
    save(tmp_path, 5, keep=1)

    def killed(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, 10, keep=1)
    assert [folder.name for folder in list_checkpoints(tmp_path)] == ["step-00000010"]
    save(tmp_path, 15, keep=1)
    assert names(tmp_path) == ["step-00000015"]


def test_a_checkpoint_is_found_by_run_or_by_folder(tmp_path):
    old, new = save(tmp_path, 5), save(tmp_path, 10)
    assert find_checkpoint(tmp_path) == new
    assert find_checkpoint(old) == old


def test_no_checkpoint_is_refused_saying_what_to_give(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*; give a run's folder or one of its"):
        find_checkpoint(tmp_path / "none")


def test_a_checkpoint_of_another_format_is_refused(tmp_path):
    folder = save(tmp_path, 5)
    info = json.loads((folder / "checkpoint.json").read_text()) | {"format": "keyclip-checkpoint/9"}
    (folder / "checkpoint.json").write_text(json.dumps(info))
    with pytest.raises(CheckpointError, match="is of format 'keyclip-checkpoint/9'; this version reads 'keyclip-check"):
        read_checkpoint_info(folder)


@pytest.mark.parametrize("content", ["", "{", '"text"', "[]"])
def test_a_checkpoint_whose_json_is_damaged_is_refused(tmp_path, content):
    folder = save(tmp_path, 5)
    (folder / "checkpoint.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"the checkpoint.*checkpoint.json' is not as expected"):
        read_checkpoint_info(folder)


def test_a_damaged_or_absent_file_of_tensors_is_refused(tmp_path):
    folder = save(tmp_path, 5)
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=r"model\.safetensors of checkpoint .* cannot be read"):
        read_tensors(folder, "model")
    with pytest.raises(CheckpointError, match=r"teacher\.safetensors of checkpoint .* cannot be read"):
        read_tensors(folder, "teacher")


def test_a_checkpoints_tensors_are_plain_safetensors(tmp_path):
    folder = save(tmp_path, 5)
    save_file({"weight": torch.full((2, 3), 5.0)}, tmp_path / "expected.safetensors", metadata={"format": "pt"})
    assert (folder / "model.safetensors").read_bytes() == (tmp_path / "expected.safetensors").read_bytes()


def write_log(run: Path, text: str) -> Path:
    run.mkdir(exist_ok=True)
    (run / "log.jsonl").write_text(text)
    return run / "log.jsonl"


def test_the_log_is_cut_back_to_the_step_that_the_run_continues_from(tmp_path):
    log = write_log(tmp_path, "".join(f'{{"step": {step}, "loss": 0.5}}\n' for step in (10, 20, 30, 40)))
    trim_log(tmp_path, 20)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [10, 20]


@pytest.mark.parametrize("torn", ['{"step": 3', '{"st', "3", '{"loss": 1}'])
def test_a_torn_last_line_is_dropped(tmp_path, torn):
    log = write_log(tmp_path, '{"step": 10}\n{"step": 20}\n' + torn)
    trim_log(tmp_path, 40)
    assert log.read_text() == '{"step": 10}\n{"step": 20}\n'


def test_a_kill_while_the_log_is_cut_loses_none_of_it(tmp_path, monkeypatch):
    log = write_log(tmp_path, '{"step": 10}\n{"step": 20}\n')

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        trim_log(tmp_path, 10)
    assert log.read_text() == '{"step": 10}\n{"step": 20}\n'


def test_a_run_without_a_log_has_nothing_to_cut(tmp_path):
    trim_log(tmp_path, 0)
    assert list(tmp_path.iterdir()) == []

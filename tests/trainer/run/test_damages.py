"""Damaged files of runs, generated: every one ends in a sentence that names the run's folder, or changes nothing."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from store.common.errors import KeyclipError
from store.common.settings import build
from trainer.checkpoint.export import export_folder, load_adapter
from trainer.checkpoint.folder import prepare, save_checkpoint, trim_log
from trainer.checkpoint.model import load_model
from trainer.settings.config import RunConfig
from trainer.stage2 import Stage2, Stage2Config

WRONG = (None, True, -1, 10**40, "text", {}, [[]])


def damaged_json(text: str, depth: int = 2) -> Iterator[str]:
    """Texts with one entry less or of another type, torn ones, and ones that are no objects."""

    def of(value: Any, left: int) -> Iterator[Any]:
        if isinstance(value, dict):
            for name in value:
                yield {other: one for other, one in value.items() if other != name}
                changes = of(value[name], left - 1) if left > 1 else iter(())
                yield from (value | {name: change} for change in (*WRONG, *changes))

    yield from map(json.dumps, of(json.loads(text), depth))
    yield from (text[: len(text) // 2], "", "\x00", "[" * 5000, "null", "[]", "\ud83d" * 3)


def damaged_bytes(content: bytes) -> Iterator[bytes]:
    random = np.random.default_rng(0)
    for at in (0, 4, 8, 40, len(content) // 2, len(content) - 1):
        yield content[:at]
    for _ in range(12):
        changed = bytearray(content)
        changed[int(random.integers(min(len(content), 600)))] ^= 1 << int(random.integers(8))
        yield bytes(changed)


def damaged_tensors(tensors: dict[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
    for name, value in list(tensors.items())[::11]:
        yield {other: one for other, one in tensors.items() if other != name}
        yield tensors | {name: value[..., None].contiguous()}
        yield tensors | {name: torch.zeros(1)}
    yield {}


@pytest.fixture(params=[0, 2])
def checkpoint(request, settings, tmp_path) -> Path:
    more = {"lora_rank": request.param} if request.param else {}
    stage = Stage2(build(Stage2Config, settings | more))
    weights = {name: p.detach() for name, p in stage.module.named_parameters() if p.requires_grad}
    return save_checkpoint(tmp_path / "run", {"model": weights}, {"stage": "stage2", "step": 1, **stage.info}, 1)


def require_sentence(function: Any, folder: Path) -> bool:
    """Whether the function succeeded; otherwise it raised one of our errors, in one line that names the folder."""
    try:
        function()
    except KeyclipError as error:
        said = str(error)
    else:
        return True
    assert folder.name in said
    assert "\n" not in said
    return False


def test_damaged_checkpoints_are_refused_by_name(checkpoint, settings):
    description, tensors = checkpoint / "checkpoint.json", checkpoint / "model.safetensors"
    whole = description.read_text()
    refused = 0
    for text in damaged_json(whole):
        description.write_bytes(text.encode("utf-8", "surrogatepass"))
        refused += not require_sentence(lambda: load_model(settings["clip"], checkpoint), checkpoint)
    assert refused > 50
    description.write_text(whole)
    content, weights = tensors.read_bytes(), load_file(tensors)
    for damage in damaged_bytes(content):
        tensors.write_bytes(damage)
        require_sentence(lambda: load_model(settings["clip"], checkpoint), checkpoint)
    for damage in damaged_tensors(weights):
        save_file(damage, tensors)
        require_sentence(lambda: load_model(settings["clip"], checkpoint), checkpoint)


def test_damaged_exports_are_refused_by_name(checkpoint, settings, tmp_path):
    folder = tmp_path / "export"
    export_folder(settings["clip"], checkpoint, folder)
    whole = (folder / "keyclip.json").read_text()
    for text in damaged_json(whole):
        (folder / "keyclip.json").write_bytes(text.encode("utf-8", "surrogatepass"))
        require_sentence(lambda: load_adapter(folder), folder)
    (folder / "keyclip.json").write_text(whole)
    content = (folder / "adapter.safetensors").read_bytes()
    for damage in damaged_bytes(content):
        (folder / "adapter.safetensors").write_bytes(damage)
        require_sentence(lambda: load_adapter(folder), folder)


def test_damaged_settings_of_a_run_are_refused_by_name(tmp_path):
    config = RunConfig(output=tmp_path / "run")
    prepare(config.output, "stage1", config)
    save_checkpoint(config.output, {}, {"stage": "stage1", "step": 1}, 1)
    whole = (config.output / "config.json").read_text()
    for text in damaged_json(whole, depth=1):
        (config.output / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
        require_sentence(lambda: prepare(config.output, "stage1", replace(config, seed=1)), config.output)


@pytest.mark.parametrize("name", ["log.jsonl", "evaluations.jsonl"])
def test_damaged_lines_of_a_log_are_dropped(tmp_path, name):
    good = json.dumps({"step": 3, "loss": 0.5, "epoch_left_out": {"broken image": 1}})
    damages = [text.encode("utf-8", "surrogatepass") for text in damaged_json(good)]
    (tmp_path / name).write_bytes(b"\n".join([good.encode(), *damages, b"\xff\xfe"]))
    last = trim_log(tmp_path, 10, name)
    kept = [json.loads(line) for line in (tmp_path / name).read_bytes().splitlines()]
    assert kept[0] == json.loads(good)
    assert last == kept[-1]
    assert all(type(row["step"]) is int and row["step"] >= 0 for row in kept)
    assert all(type(number) is int for row in kept for number in row.get("epoch_left_out", {}).values())

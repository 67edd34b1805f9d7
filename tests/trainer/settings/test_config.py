"""Settings are nested by owner in the code, and flat in flags, settings files and records."""

import json
from pathlib import Path

import pytest

from store.common.command import parse_config
from store.common.errors import ConfigError
from store.common.settings import as_flat, build, settings_of
from trainer.checkpoint.folder import plain
from trainer.stage1 import Stage1Config
from trainer.stage2 import Stage2Config

STAGE2 = {"output": Path("run"), "shards": ("a.tar",), "store": Path("s"), "fields": ("llm/short",), "clip": "c"}


def parse_file(file: Path, text: str) -> Stage2Config:
    file.write_text(text)
    return parse_config(Stage2Config, ["--config", str(file), "--output", "run"], "keyclip train stage2")


def test_a_file_may_nest_settings_by_owner(tmp_path):
    data = "shards: [a.tar]\nstore: s\nfields: llm/short\nclip: c\n"
    flat = parse_file(tmp_path / "flat.yaml", f"{data}learning_rate: 0.5\nseed: 3\nlambda_reg: 0\nlora_rank: 2\n")
    nested = "run: {seed: 3}\noptim: {learning_rate: 0.5}\ndistill: {lambda_reg: 0}\nlora: {rank: 2}\n"
    assert parse_file(tmp_path / "nested.yaml", data + nested) == flat
    assert (flat.run.optim.learning_rate, flat.run.seed, flat.distill.lambda_reg, flat.lora.rank) == (0.5, 3, 0, 2)
    with pytest.raises(ConfigError, match="sets 'lora_speed', which is not a setting"):
        parse_file(tmp_path / "wrong.yaml", f"{data}lora: {{speed: 1}}\n")


def test_the_record_of_a_run_is_flat_and_gives_its_settings_again(tmp_path):
    config = build(Stage2Config, STAGE2 | {"lora_rank": 2, "ema_momentum": 0.5})
    record = plain(config)
    assert [name for name in record if name != "data"] == list(settings_of(Stage2Config))
    assert record["data"][0]["shards"] == ["a.tar"]
    assert (record["lora_rank"], record["ema_momentum"], record["eval_every"]) == (2, 0.5, None)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"stage": "stage2", **record}))
    assert parse_config(Stage2Config, ["--config", str(file)], "keyclip train stage2") == config


@pytest.mark.parametrize("config", [Stage1Config, Stage2Config])
def test_no_two_parts_have_a_setting_of_the_same_name(config):
    values = {"output": Path("run"), "store": Path("s"), "fields": ("a/x",)}
    values |= {"shards": ("a.tar",), "clip": "c"} if config is Stage2Config else {"teacher_fields": ("b/x",)}
    assert set(as_flat(build(config, values))) == {*settings_of(config), "data"}


def test_an_unknown_setting_is_a_mistake_of_the_caller():
    with pytest.raises(TypeError, match=r"Stage2Config has no settings \['speed'\]"):
        build(Stage2Config, STAGE2 | {"speed": 1})

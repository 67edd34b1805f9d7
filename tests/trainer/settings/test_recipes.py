"""Every recipe builds a config of each of its stages, and the paper's recipes hold the paper's settings."""

import importlib

import pytest

from store.common.command import parse_config
from store.common.errors import ConfigError
from store.common.settings import as_flat, settings_of
from trainer.__main__ import STAGES, main
from trainer.settings.recipes import RECIPES, SETTINGS, recipe_settings
from trainer.stage1 import Stage1Config
from trainer.stage2 import Stage2Config

REQUIRED = {
    "pretrain": ["--shards", "a.tar", "--caption-fields", "caption"],
    "stage1": ["--store", "s", "--fields", "a/x", "--teacher-fields", "b/x"],
    "stage2": ["--shards", "a.tar", "--store", "s", "--fields", "a/x"],
}
# ProCLIP, arXiv 2510.18795 v3, table 8 in the appendix; batches are 8 GPUs times samples a GPU
TABLE_8 = {
    "stage1": {
        "batch_size": 8 * 128, "epochs": 4, "learning_rate": 1e-5, "beta1": 0.9, "beta2": 0.98, "epsilon": 1e-6,
        "weight_decay": 0.05,
    },
    "stage2": {
        "batch_size": 8 * 512, "epochs": 4, "learning_rate": 1e-5, "beta1": 0.9, "beta2": 0.98, "epsilon": 1e-6,
        "weight_decay": 0.05, "ema_momentum": 0.999, "lambda_reg": 0.0004, "teacher": "ema",
    },
}  # fmt: skip
# what the paper leaves open, as LLM2CLIP's public script has it
SCRIPT = {
    "stage1": {"warmup_steps": 0, "grad_clip": 5.0, "zero_stage": 1},
    "stage2": {
        "warmup_steps": 0, "grad_clip": 5.0, "zero_stage": 1, "layer_decay": 0.85, "gradient_checkpointing": True,
    },
}  # fmt: skip
SIZES = ("1m", "3m", "15m", "30m")
TOWERS = ("", "-vitb32", "-vitb16", "-eva02l", "-so400m")
FAMILY = [f"-{size}{tower}" for size in SIZES for tower in TOWERS]


def config_of(recipe: str, stage: str, *flags: str):
    module, name, *_ = STAGES[stage]
    config_type = getattr(importlib.import_module(module), name)
    settings = recipe_settings(recipe, stage)
    clip = ["--clip", "c"] if stage == "stage2" and "clip" not in settings else []
    return parse_config(config_type, ["--output", "run", *REQUIRED[stage], *clip, *flags], "test", settings)


@pytest.mark.parametrize("stage", list(STAGES))
def test_every_recipe_builds_a_config_that_flags_override(stage):
    recipes = [name for name, stages in RECIPES.items() if stage in stages]
    assert recipes
    for name in recipes:
        config, settings = config_of(name, stage), recipe_settings(name, stage)
        values = as_flat(config)
        assert {setting: values[setting] for setting in settings} == settings
    assert config_of(recipes[-1], stage, "--batch-size", "8").run.batch_size == 8


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
@pytest.mark.parametrize("deep", ["", "-12blocks"])
def test_proclip_holds_table_8_value_by_value_at_every_size_and_tower(stage, deep):
    for name in FAMILY:
        settings = recipe_settings(f"proclip{name}{deep}", stage)
        for expected in (TABLE_8[stage], SCRIPT[stage], {"num_blocks": 12 if deep else 4, "expansion": 2}):
            assert {setting: settings[setting] for setting in expected} == expected, name


def test_llm2clip_is_stage_2_alone_with_the_same_settings_and_adapter_but_no_self_distillation():
    for name in FAMILY:
        for deep in ("", "-12blocks"):
            proclip = recipe_settings(f"proclip{name}{deep}", "stage2")
            assert RECIPES[f"llm2clip{name}{deep}"] == {"stage2": proclip | {"lambda_reg": 0.0}}


def test_the_towers_are_those_of_the_paper():
    towers = {"": "openai/clip-vit-large-patch14", "-vitb32": "openai/clip-vit-base-patch32"}
    towers |= {"-vitb16": "openai/clip-vit-base-patch16", "-so400m": "google/siglip2-so400m-patch14-224"}
    towers |= {"-eva02l": "open_clip:EVA02-L-14:merged2b_s4b_b131k"}
    for tower, clip in towers.items():
        assert recipe_settings(f"proclip-3m{tower}", "stage2")["clip"] == clip


def test_every_value_of_the_family_names_its_source():
    by_source = {setting.name: setting.source for setting in SETTINGS}
    for stage in ("stage1", "stage2"):
        assert set(recipe_settings("proclip-3m", stage)) - {"clip"} == {
            setting.name for setting in SETTINGS if getattr(setting, stage) is not None
        }
        assert {by_source[name] for name in TABLE_8[stage]} == {"paper, table 8"}
        assert {by_source[name] for name in SCRIPT[stage]} == {"LLM2CLIP's public script"}


@pytest.mark.parametrize("config", [Stage1Config, Stage2Config])
def test_the_method_s_settings_are_the_defaults_without_a_recipe(config):
    defaults = {name: setting.default for name, setting in settings_of(config).items()}
    stage = config.__name__.removesuffix("Config").lower()
    method = ("learning_rate", "beta1", "beta2", "epsilon", "weight_decay", "ema_momentum", "lambda_reg", "teacher")
    expected = {name: value for name, value in TABLE_8[stage].items() if name in method}
    expected |= {"num_blocks": 4, "expansion": 2, "warmup_steps": 0, "grad_clip": 5.0, "scaling": "invariant"}
    assert {name: defaults[name] for name in expected} == expected


def test_an_unknown_recipe_or_stage_is_refused_naming_what_there_is():
    with pytest.raises(
        ConfigError, match=r"no recipe 'x'; there are demo, photos and proclip\|llm2clip-1m\|3m\|15m\|30m\["
    ):
        recipe_settings("x", "stage1")
    with pytest.raises(ConfigError, match="has no pretrain; it has stage1, stage2"):
        recipe_settings("proclip-3m", "pretrain")
    with pytest.raises(ConfigError, match="has no stage1; it has stage2"):
        recipe_settings("llm2clip-3m", "stage1")


def test_the_command_line_takes_a_recipe(capsys):
    assert main(["stage1", "--recipe", "none", *REQUIRED["stage1"], "--output", "run"]) == 1
    assert "no recipe 'none'" in capsys.readouterr().err


def test_the_help_shows_every_setting_of_the_paper_s_runs_with_its_source(capsys):
    assert main(["--help"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "lambda_reg - 0.0004 paper, table 8" in lines
    assert "batch_size 1024 4096 paper, table 8" in lines
    assert "layer_decay - 0.85 LLM2CLIP's public script" in lines
    assert all(any(line.startswith(f"{setting.name} ") for line in lines) for setting in SETTINGS)

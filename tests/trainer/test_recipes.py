"""Every recipe builds a config of each of its stages."""

import importlib

import pytest

from store.command import parse_config
from store.errors import ConfigError
from trainer.__main__ import STAGES, main
from trainer.recipes import RECIPES, recipe_settings

REQUIRED = {
    "pretrain": ["--shards", "a.tar", "--caption-fields", "caption"],
    "stage1": ["--store", "s", "--fields", "a/x", "--teacher-fields", "b/x"],
    "stage2": ["--shards", "a.tar", "--store", "s", "--fields", "a/x", "--clip", "c"],
}


@pytest.mark.parametrize(("recipe", "stage"), [(name, stage) for name in RECIPES for stage in RECIPES[name]()])
def test_a_recipe_builds_a_config_that_flags_override(recipe, stage):
    module, config_name, *_ = STAGES[stage]
    config_type = getattr(importlib.import_module(module), config_name)
    settings = recipe_settings(recipe, stage)
    flags = ["--output", "run", *REQUIRED[stage]]
    config = parse_config(config_type, flags, "test", settings)
    assert {name: getattr(config, name) for name in settings} == settings
    assert parse_config(config_type, [*flags, "--batch-size", "8"], "test", settings).batch_size == 8


def test_an_unknown_recipe_or_stage_is_refused_naming_what_there_is():
    with pytest.raises(ConfigError, match="no recipe 'x'; there are demo, "):
        recipe_settings("x", "stage1")
    with pytest.raises(ConfigError, match="has no pretrain; it has stage1, stage2"):
        recipe_settings("cc3m-vitl14-llama3", "pretrain")


def test_the_command_line_takes_a_recipe(capsys):
    assert main(["stage1", "--recipe", "none", *REQUIRED["stage1"], "--output", "run"]) == 1
    assert "no recipe 'none'" in capsys.readouterr().err

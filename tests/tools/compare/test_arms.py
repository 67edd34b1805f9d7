"""Arms, groups and arms with settings of their own; one adapter for all of them but for the arms about the adapter."""

from pathlib import Path

import pytest

from store.common.errors import ConfigError
from tools.compare.arms import ARMS, GROUPS, expand
from tools.compare.experiment import Experiment, Sources
from tools.compare.grid import make_grid
from tools.compare.settings import SuiteSettings


class Draws:
    """Of every seed the same list of keys, which no test reads."""

    are_all = True

    def file(self, seed):
        return Path("keys.txt")


def trainings(**settings):
    """What a comparison trains: folder's name -> words of the command."""
    sources = Sources(store=Path("s"), finetune=("a.tar",), test=("b.tar",))
    (point,) = make_grid(["clip"], [], ["llm"], "clip", [])
    experiment = Experiment(Path("out"), SuiteSettings(**settings), sources, point, Draws())  # type: ignore[arg-type]
    experiment.check()
    return {training.output.name: training.words for training in experiment.trainings(0)}


def value(words, flag):
    """The value that counts: the last one given."""
    return words[len(words) - 1 - words[::-1].index(flag) + 1]


def adapters(found):
    return {name: (value(words, "--num-blocks"), value(words, "--expansion")) for name, words in found.items()}


def names(*words):
    return [arm.name for arm in expand(words)]


def test_every_group_names_arms_that_there_are():
    for group in GROUPS:
        assert names(group) == list(GROUPS[group])


def test_table_5_has_the_published_components_in_its_order():
    titles = {arm.name: arm.title for arm in expand(["table5"])}
    assert titles == {
        "clip": "CLIP",
        "llm2clip": "LLM2CLIP",
        "stage1@structure=False": "stage 1 only (structure=False)",  # L_ins
        "stage1": "stage 1 only",  # + L_struct
        "no-distillation": "without self-distillation",  # + L_info
        "proclip": "ProCLIP",  # + L_reg
    }


def test_table_7_sweeps_lambda_reg_from_one_stage_1():
    found = trainings(arms=("table7",))
    assert list(found) == ["stage1", *(f"proclip@lambda_reg={v}" for v in ("0", "2e-4", "4e-4", "6e-4", "1e-3"))]
    stage2 = [words for words in found.values() if words[0] == "stage2"]
    assert [value(words, "--lambda-reg") for words in stage2] == ["0", "2e-4", "4e-4", "6e-4", "1e-3"]
    assert {value(words, "--stage1") for words in stage2} == {"out/seed-0/stage1"}


@pytest.mark.parametrize("recipe", ["demo", "proclip-3m"])
def test_all_arms_of_the_paper_share_the_published_adapter(recipe):
    found = trainings(arms=("paper", "table5", "table7"), recipe=recipe)
    assert len(found) == 13
    assert set(adapters(found).values()) == {("4", "2")}


def test_all_arms_share_an_adapter_that_is_given_or_is_of_the_recipe():
    assert set(adapters(trainings(num_blocks=1, expansion=8)).values()) == {("1", "8")}
    assert set(adapters(trainings(recipe="proclip-3m-12blocks")).values()) == {("12", "2")}


def test_only_an_arm_about_the_adapter_has_another_one_and_a_stage_1_of_its_own():
    found = trainings(arms=("table14",))
    twelve = {"stage1@num_blocks=12", "proclip@num_blocks=12"}
    assert {name for name, shape in adapters(found).items() if shape == ("12", "2")} == twelve
    assert {name for name, shape in adapters(found).items() if shape == ("4", "2")} == {"llm2clip", "stage1", "proclip"}
    assert value(found["proclip@num_blocks=12"], "--stage1") == "out/seed-0/stage1@num_blocks=12"


def test_arms_share_stage_1_but_for_the_one_without_structure_loss():
    shared = [name for name, arm in ARMS.items() if arm.stage1_name == "stage1"]
    assert shared == ["stage1", "no-distillation", "fixed", "proclip"]
    found = trainings(arms=("paper", "stage1@structure=False"))
    assert [name for name in found if name.startswith("stage1")] == ["stage1", "stage1@structure=False"]
    assert value(found["no-structure"], "--stage1") == "out/seed-0/stage1@structure=False"
    assert value(found["stage1@structure=False"], "--structure") == "False"


def test_a_setting_counts_for_every_stage_that_has_it_or_for_the_one_that_is_named():
    both, second = expand(["proclip@structure=False", "proclip@stage2.structure=False"])
    assert (both.stage1, both.stage2) == ({"structure": "False"}, {"teacher": "ema", "structure": "False"})
    assert (second.stage1, second.stage2) == ({}, {"teacher": "ema", "structure": "False"})
    (several,) = expand(["proclip@num_blocks=12,lambda_reg=0"])
    assert (several.stage1, several.title) == ({"num_blocks": "12"}, "ProCLIP (num_blocks=12, lambda_reg=0)")
    assert several.stage2 == {"teacher": "ema", "num_blocks": "12", "lambda_reg": "0"}


def test_every_training_gets_its_arm_and_recipe():
    found = trainings(arms=("proclip@lambda_reg=0",))
    assert {name: value(words, "--arm") for name, words in found.items()} == {name: name for name in found}
    assert {value(words, "--recipe") for words in found.values()} == {"demo"}


def test_an_arm_that_two_groups_name_is_trained_once():
    assert names("table5", "paper").count("proclip") == 1


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ("blip", "no arm 'blip'; there are clip, lit, .* and the groups paper, table5"),
        ("proclip@speed=1", "arm 'proclip@speed=1' sets 'speed=1'; expected SETTING=VALUE"),
        ("proclip@lambda_reg", "sets 'lambda_reg'; expected SETTING=VALUE"),
        ("stage1@lambda_reg=1", "a setting of a stage that 'stage1' trains"),
        ("llm2clip@stage1.structure=False", "a setting of a stage that 'llm2clip' trains"),
        ("clip@seed=1", "none that all arms share"),
        ("proclip@seed=1", "none that all arms share"),
        ("proclip@eval_sets=a", "none that all arms share"),
        ("proclip@wandb_project=a/b", "sets 'wandb_project=a/b'"),  # the name becomes the name of a folder
    ],
)
def test_an_arm_that_cannot_be_is_refused(arm, message):
    with pytest.raises(ConfigError, match=message):
        SuiteSettings(arms=(arm,))


def test_a_value_that_a_stage_does_not_take_is_refused_before_anything_is_done():
    for arm in ("proclip@lambda_reg=much", "proclip@layer_decay=2"):
        with pytest.raises((SystemExit, ConfigError)):
            trainings(arms=("clip", arm))


@pytest.mark.parametrize("stage", ["stage1_config", "stage2_config"])
def test_a_settings_file_of_one_stage_cannot_change_the_adapter(stage, tmp_path):
    (tmp_path / "more.yaml").write_text("num_blocks: 1\n")
    with pytest.raises(ConfigError, match=r"more\.yaml' sets num_blocks, but all arms share one adapter; give --num"):
        SuiteSettings(**{stage: tmp_path / "more.yaml"})

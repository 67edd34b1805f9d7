"""Evaluation on the way; tests/tools/evaluate/test_eval.py compares its figures with those of ``keyclip eval``."""

import json
from pathlib import Path

import pytest
import torch

from store.common.errors import ConfigError
from store.common.settings import build
from trainer.data.loader import Plan
from trainer.data.samples import ShardSamples
from trainer.evaluation.features import image_features
from trainer.evaluation.validation import make_validation
from trainer.model.towers import load_image_tower
from trainer.run.log import TrainingLog
from trainer.stage2 import Stage2Config


def test_two_ranks_encode_each_image_once_and_both_get_all_in_order(engines, shards, clip_folder):
    features = image_features(load_image_tower(str(clip_folder)), ShardSamples(shards), torch.device("cpu"))
    assert torch.allclose(torch.tensor(engines["features"]), features[:23], atol=1e-6)


def test_without_settings_nothing_is_evaluated(settings):
    assert make_validation(build(Stage2Config, settings).eval, {}) is None


def test_settings_that_stand_alone_are_refused(settings):
    with pytest.raises(ConfigError, match="needs all of eval_every, eval_sets, eval_store and eval_field"):
        build(Stage2Config, settings | {"eval_every": 10})
    more = {"eval_sets": Path("sets.yaml"), "eval_store": Path("a.store"), "eval_field": "llm/caption"}
    with pytest.raises(ConfigError, match="eval_every is 0"):
        build(Stage2Config, settings | more | {"eval_every": 0})


def test_a_continued_run_writes_the_later_evaluations_again(settings):
    config = build(Stage2Config, settings)
    config.run.output.mkdir()
    for first, steps in ((0, (5, 10, 15)), (10, (15, 20))):
        with TrainingLog(config, 0, first, Plan(24, 8), []) as log:
            since = log.since
            for step in steps:
                log.evaluated(step, {"eval/photos/mean_rank": 0.5 * step + first, "eval/seconds": 2.0})
            assert log.since == pytest.approx(since + 2.0 * len(steps))  # not training's time
    rows = [json.loads(line) for line in (config.run.output / "evaluations.jsonl").read_text().splitlines()]
    assert [(row["step"], row["eval/photos/mean_rank"]) for row in rows] == [
        (5, 2.5),
        (10, 5.0),
        (15, 17.5),
        (20, 20.0),
    ]

"""What the chain of commands takes for finished."""

import json

from tools.compare.chain import Training


def test_pretraining_that_was_killed_before_its_clip_was_written_is_not_finished(tmp_path):
    checkpoint = tmp_path / "checkpoints" / "step-00000004"
    checkpoint.mkdir(parents=True)
    description = {"format": "keyclip-checkpoint/1", "stage": "pretrain", "step": 4, "finished": True}
    (checkpoint / "checkpoint.json").write_text(json.dumps(description))
    assert not Training("pretrain", tmp_path, ()).is_finished()
    assert Training("stage1", tmp_path, ()).is_finished()
    (tmp_path / "clip").mkdir()
    assert Training("pretrain", tmp_path, ()).is_finished()

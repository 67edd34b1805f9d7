import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from store.common.errors import ConfigError
from trainer.run.boards import TensorBoard, open_boards


def losses(run) -> list[tuple[int, float]]:
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return [(event.step, round(event.value, 4)) for event in events.Scalars("loss")]


def write(run, first: int, values: dict[int, float]) -> None:
    board = TensorBoard(run, first)
    for step, value in values.items():
        board.add(step, {"loss": value})
    board.close()


def test_tensorboard_shows_each_step_once_when_a_run_is_continued_from_an_earlier_checkpoint(tmp_path):
    write(tmp_path, 0, {1: 0.5, 2: 0.4, 3: 0.3})
    write(tmp_path, 1, {2: 0.45, 3: 0.35, 4: 0.25})

    assert losses(tmp_path) == [(1, 0.5), (2, 0.45), (3, 0.35), (4, 0.25)]


def test_without_a_project_there_is_tensorboard_alone(tmp_path):
    boards = open_boards(tmp_path, 0, None, {})
    assert [type(board) for board in boards] == [TensorBoard]
    boards[0].close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_wandb_gets_the_numbers_offline_and_a_continued_run_keeps_its_id(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="pip install wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    ids = []
    for first in (0, 2):
        boards = open_boards(tmp_path, first, "captions", {"seed": 3})
        for board in boards:
            board.add(first + 1, {"loss": 0.5})
        for board in boards:
            board.close()
        ids.append((tmp_path / "wandb-id.txt").read_text())
    assert ids[0] == ids[1]
    kept = sorted((tmp_path / "wandb").glob(f"offline-run-*-{ids[0].strip()}/*.wandb"))
    assert kept
    assert any(b"loss" in file.read_bytes() for file in kept)


def test_a_missing_wandb_is_named_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match="pip install wandb"):
        open_boards(tmp_path, 0, "captions", {})

"""``keyclip demo-data`` as a user calls it."""

from pathlib import Path

import pytest

from store.common.errors import ConfigError
from tools.__main__ import main
from tools.commands.demo_data import Config


def test_it_writes_the_splits_and_says_where(tmp_path, capsys):
    assert main(["demo-data", "--output", str(tmp_path), "--splits", "finetune=3", "test=2"]) == 0
    out = capsys.readouterr().out
    assert f"finetune: 3 samples in 1 shard(s), {tmp_path}/finetune/*.tar" in out
    assert f"classes: {tmp_path}/classes.json" in out
    assert (tmp_path / "test/90000.tar").is_file()
    assert not (tmp_path / "pretrain").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"splits": ("train=5",)}, "no split 'train'; there are pretrain, texts, finetune, dev, test"),
        ({"splits": ("test=0",)}, "split 'test' cannot have 0 samples"),
        ({"splits": ("test",)}, "--splits got 'test'; give each split once, such as pretrain=6000"),
        ({"splits": ("test=1", "test=2")}, "give each split once"),
        ({"image_size": 8}, "--image-size 8 is out of range; give 32 to 1024 pixels"),
        ({"finetune_theme": "jazz"}, "no theme 'jazz'; there are any, shown"),
    ],
)
def test_wrong_settings_are_refused_in_one_sentence(flags, message):
    with pytest.raises(ConfigError, match=message):
        Config(output=Path("data"), **flags)


def test_on_the_command_line_they_end_with_status_1_and_write_nothing(tmp_path, capsys):
    assert main(["demo-data", "--output", str(tmp_path / "data"), "--finetune-theme", "jazz"]) == 1
    assert "no theme 'jazz'" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()

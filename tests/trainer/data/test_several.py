"""Several trainings in one launch: what is wrong with their list is said before anything is started."""

import pytest

from trainer.__main__ import main, usage


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "the list of trainings"),
        ("{", "the list of trainings"),
        ('["stage3", "--output", "x"]', "is no training; expected a list of a stage and its flags"),
        ('{"stage": "stage1"}', "is no training"),
        ("[]", "is no training"),
    ],
)
def test_a_list_that_cannot_be_understood_is_refused(tmp_path, capsys, text, message):
    file = tmp_path / "trainings.jsonl"
    if text is not None:
        file.write_text(f"{text}\n")
    assert main(["several", str(file)]) == 1
    assert message in capsys.readouterr().err


def test_a_training_that_fails_ends_the_list_with_its_status(tmp_path, capsys):
    file = tmp_path / "trainings.jsonl"
    file.write_text('["stage1", "--recipe", "none"]\n["stage2", "--recipe", "none"]\n')
    assert main(["several", str(file)]) == 1
    assert capsys.readouterr().err.count("keyclip: error: no recipe 'none'") == 1


def test_the_usage_names_it():
    assert "several" in usage()

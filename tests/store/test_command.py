"""Config dataclasses as commands: flags over settings files over recipes, and what every outcome exits with."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from store.command import exit_status, parse_config, run_command
from store.errors import ConfigError, FieldNotFoundError, ShardNotFoundError


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Make a thing.

    Example:
        thing --path here
    """

    path: Path
    """Where."""
    epochs: int = 1
    """How often, at least 1."""
    learning_rate: float = 1e-5
    """How fast."""
    fields: tuple[str, ...] = ("a",)
    """Which."""
    check: bool = True
    """Whether to look."""
    limit: int | None = None
    """At most, or no limit."""
    splits: dict[str, int] = field(default_factory=dict)
    """Name and number."""

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"epochs is {self.epochs}; expected at least 1")


def parse(*argv: str, **settings: object) -> Config:
    return parse_config(Config, argv, "thing", settings)


def test_flags_fill_the_config_and_defaults_the_rest():
    config = parse("--path", "here", "--epochs", "3", "--fields", "b", "c", "--check", "False", "--limit", "4")
    assert config == Config(path=Path("here"), epochs=3, fields=("b", "c"), check=False, limit=4)


def test_flags_may_be_written_with_underscores_or_dashes():
    assert parse("--path=x", "--learning_rate", "0.5") == parse("--path=x", "--learning-rate", "0.5")


def test_a_setting_that_is_true_or_false_needs_no_value():
    for argv in (["--check", "--path", "x"], ["--path", "x", "--check"], ["--path", "x", "--check", "True"]):
        assert parse(*argv, check=False) == Config(path=Path("x"), check=True)
    assert parse("--check", "False", "--path", "x").check is False


def test_a_settings_file_gives_values_of_every_kind(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text(
        "path: there\nepochs: 7\nlearning_rate: 1.0e-3\nfields: [x, y]\ncheck: false\nlimit: null\n"
        "splits: {a: 1, b: 2}\n"
    )
    expected = Config(
        path=Path("there"), epochs=7, learning_rate=1e-3, fields=("x", "y"), check=False, splits={"a": 1, "b": 2}
    )
    assert parse("--config", str(file)) == expected
    assert parse(f"--config={file}") == expected


def test_a_settings_file_may_be_json(tmp_path):
    file = tmp_path / "settings.json"
    file.write_text('{"path": "there", "fields": ["x"], "limit": 2}')
    assert parse("--config", str(file)) == Config(path=Path("there"), fields=("x",), limit=2)


def test_flags_override_files_later_files_earlier_ones_and_files_the_recipe(tmp_path):
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("epochs: 2\nlimit: 2\nfields: [one]\n")
    two.write_text("epochs: 3\nfields: [two, three]\n")
    recipe = {"path": "recipe", "epochs": 9, "limit": 9, "learning_rate": 9.0}
    config = parse("--epochs", "4", "--config", str(one), "--config", str(two), **recipe)
    assert config == Config(path=Path("recipe"), epochs=4, limit=2, learning_rate=9.0, fields=("two", "three"))
    assert parse("--fields", "four", "--config", str(two), **recipe).fields == ("four",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speed: 3\n", r"settings\.yaml sets 'speed', which is not a setting; there are check, epochs, fields"),
        ("- 1\n", r"settings\.yaml' must map names to values"),
        ("", "must map names to values"),
        ("epochs: 3\nepochs: 4\n", r"settings\.yaml' is not YAML: 'epochs' stands twice"),
        ("a: [1\n", r"settings\.yaml' is not YAML"),
        (b"path: \xff\xfe\n", r"settings\.yaml' is not UTF-8"),
    ],
)
def test_a_settings_file_that_makes_no_sense_is_refused(tmp_path, text, message):
    file = tmp_path / "settings.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=message):
        parse("--path", "x", "--config", str(file))


@pytest.mark.parametrize("argv", [["--config", "none.yaml"], ["--config=none.yaml"], ["--config"]])
def test_a_settings_file_that_is_not_there_is_refused(tmp_path, monkeypatch, argv):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"the settings file .* cannot be read: "):
        parse("--path", "x", *argv)


def test_a_recipe_with_an_unknown_setting_is_refused():
    with pytest.raises(ConfigError, match="the recipe sets 'speed', which is not a setting"):
        parse("--path", "x", speed=1)


def test_the_rank_that_launchers_append_is_ignored():
    assert parse("--local_rank=1", "--path", "x", "--local-rank=0") == Config(path=Path("x"))


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], ["path"]),
        (["--path", "x", "--speed", "3"], ["--speed"]),
        (["--path", "x", "--epochs", "many"], ["--epochs", "many"]),
        (["--path", "x", "--epochs", "0"], ["epochs is 0; expected at least 1"]),
    ],
)
def test_wrong_usage_exits_with_status_2_and_says_what_is_wrong(capsys, argv, words):
    with pytest.raises(SystemExit) as caught:
        run_command(Config, lambda config: None, argv, "thing")
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words)
    assert "Traceback" not in error


def test_help_teaches_the_settings_and_exits_with_status_0(capsys):
    with pytest.raises(SystemExit) as caught:
        run_command(Config, lambda config: None, ["--help"], "thing")
    assert caught.value.code == 0
    out = capsys.readouterr().out
    for words in ("Make a thing.", "thing --path here", "How often, at least 1.", "--config FILE"):
        assert words in out


def test_a_command_that_is_done_exits_with_status_0_or_its_own():
    seen = []
    assert run_command(Config, seen.append, ["--path", "x"], "thing") == 0
    assert seen == [Config(path=Path("x"))]
    assert run_command(Config, lambda config: 3, ["--path", "x"], "thing") == 3


@pytest.mark.parametrize("error", [ShardNotFoundError("no such shard: 'a.tar'"), FieldNotFoundError("no field 'a'")])
def test_an_error_that_the_user_can_mend_is_one_sentence_and_status_1(capsys, error):
    def fail(config: Config) -> None:
        raise error

    assert run_command(Config, fail, ["--path", "x"], "thing") == 1
    captured = capsys.readouterr()
    assert captured.err == f"keyclip: error: {error.args[0]}\n"
    assert captured.out == ""


def test_an_interruption_exits_with_status_130(capsys):
    def interrupt() -> None:
        raise KeyboardInterrupt

    assert exit_status(interrupt) == 130
    assert capsys.readouterr().err == "keyclip: interrupted; the same command continues\n"


def test_a_file_that_the_system_refuses_is_one_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert exit_status(lambda: (tmp_path / "file" / "folder").mkdir()) == 1
    place = str(tmp_path / "file" / "folder")
    assert capsys.readouterr().err == f"keyclip: error: {place!r} cannot be used: Not a directory\n"


def test_an_error_of_the_system_that_names_no_file_keeps_its_traceback():
    def fail() -> None:
        raise OSError("no file is to blame")

    with pytest.raises(OSError, match="no file is to blame"):
        exit_status(fail)


def test_a_mistake_of_ours_keeps_its_traceback():
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        exit_status(fail)


def run_with_a_reader_that_stops(code: str) -> tuple[int, bytes]:
    """Status and stderr of a program whose stdout is closed after its first bytes; then its stdin ends."""
    read, write = os.pipe()
    code = f"import sys; from store.command import exit_status\n{code}\nsys.exit(exit_status(work))"
    pipes = {"stdin": subprocess.PIPE, "stdout": write, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONUNBUFFERED": ""}, **pipes)
    os.close(write)
    os.read(read, 10)
    os.close(read)
    _, error = process.communicate(timeout=60)
    return process.returncode, error


def test_a_reader_that_stops_early_is_no_error():
    assert run_with_a_reader_that_stops("def work(): print('line\\n' * 10**6)") == (0, b"")


def test_a_reader_that_stops_before_the_last_words_changes_neither_status_nor_stderr():
    code = "def work(): print('first', flush=True); sys.stdin.read(); print('last'); return 1"
    assert run_with_a_reader_that_stops(code) == (1, b"")

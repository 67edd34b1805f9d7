"""Config dataclasses as commands: flags over settings files over recipes, and what every outcome exits with."""

import errno
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from annotated_types import Interval

from store.common.command import exit_status, parse_config, run_command
from store.common.errors import ConfigError, FieldNotFoundError, ShardNotFoundError
from store.common.settings import Alias, Positional, Prefix, as_flat


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
    rows: Annotated[int, Interval(ge=1, le=10)] = 5
    """Rows of 10 at most."""
    dtype: Literal["float16", "int8"] | None = None
    """Type."""
    derived: tuple[str, ...] = field(init=False, default=())
    """What follows from the others."""

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
        ("speed: 3\n", r"settings\.yaml' sets 'speed', which is not a setting; there are check, dtype, epochs, fields"),
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


def fails(capsys, *argv: str, settings: dict[str, object] | None = None) -> tuple[int | None, str]:
    """Status and sentence of a command that is refused."""
    try:
        status = run_command(Config, lambda config: pytest.fail("it ran"), argv, "thing", settings)
    except SystemExit as caught:
        status = caught.code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("keyclip: error: ")
    assert captured.err.count("\n") == 1
    return status, captured.err.removeprefix("keyclip: error: ").rstrip()


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ([], "thing needs --path; --help explains the command"),
        (["--path", "x", "--epoch", "3"], "there is no flag '--epoch'; did you mean --epochs?"),
        (["--path", "x", "-q"], "there is no flag '-q'; --help lists the flags"),
        (["--path", "x", "y"], "'y' belongs to no flag; --help explains the command"),
        (["--path"], "--path needs a value"),
        (["--path", "x", "--epochs", "many"], "--epochs is 'many'; expected a whole number"),
        (["--path", "x", "--epochs", "9" * 5000], "--epochs is 999"),
        (["--path", "x", "--epochs", str(2**63)], "expected a whole number from 0 to 2**63 - 1"),
        (["--path", "x", "--limit", "-1"], "--limit is -1; expected a whole number from 0"),
        (["--path", "x", "--rows", "0"], "--rows is 0; expected at least 1"),
        (["--path", "x", "--rows", "11"], "--rows is 11; expected at most 10"),
        (["--path", "x", "--learning-rate", "nan"], "--learning-rate is 'nan'; expected a finite number"),
        (["--path", "x", "--learning-rate", "1e999"], "--learning-rate is '1e999'; expected a finite number"),
        (["--path", "x", "--check=maybe"], "--check is 'maybe'; expected True or False"),
        (["--path", "x", "--dtype", "int4"], "--dtype is 'int4'; expected 'float16' or 'int8'"),
        (["--path", ""], "--path is ''; expected a path"),
        (["--path", "a\0b"], "expected text without NUL characters"),
        (["--path", "caf\udce9"], "expected a path in UTF-8"),
    ],
)
def test_wrong_usage_is_one_sentence_and_status_2(capsys, argv, sentence):
    status, error = fails(capsys, *argv)
    assert (status, sentence in error) == (2, True), error


def test_settings_that_do_not_fit_together_are_one_sentence_and_status_1(capsys, monkeypatch):
    for columns, terminal in (("20", "dumb"), ("200", "xterm")):
        monkeypatch.setenv("COLUMNS", columns)
        monkeypatch.setenv("TERM", terminal)
        assert fails(capsys, "--path", "x", "--epochs", "0") == (1, "epochs is 0; expected at least 1")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("epochs: many\n", "sets epochs to 'many'; expected a whole number"),
        ("epochs: '3'\n", "sets epochs to 3; expected a whole number"),
        ("epochs: 1.5\n", "sets epochs to 1.5; expected a whole number"),
        ("rows: 0\n", "sets rows to 0; expected at least 1"),
        ("check: no\n", "sets check to 'no'; expected True or False"),
        ("path: {a: 1}\n", "expected"),
        ("fields: [[a]]\n", "sets fields to ['a']; expected text"),
        ("dtype: int4\n", "sets dtype to 'int4'; expected 'float16' or 'int8'"),
        ("fields: ['pipe:touch x']\n", "names 'pipe:touch x', which would run a shell command; give --allow-pipe"),
    ],
)
def test_a_setting_of_another_type_in_a_file_names_file_and_setting(tmp_path, capsys, text, sentence):
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    status, error = fails(capsys, "--path", "x", "--config", str(file))
    assert status == 1
    assert str(file) in error
    assert sentence in error


def test_a_list_of_texts_in_a_file_keeps_sample_keys_as_they_are_written(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("path: x\nfields: [000000012, 100000012, no, 1e-1x]\nlearning_rate: 1e-1\n")
    config = parse("--config", str(file))
    assert config.fields == ("000000012", "100000012", "no", "1e-1x")
    assert config.learning_rate == 0.1


def test_switches_need_no_value_and_can_be_turned_off():
    assert parse("--path", "x", "--no-check").check is False
    assert parse("--path", "x", "--no_check").check is False
    assert parse("--no-check", "--path", "x", "--check").check is True
    assert parse("--path", "x", "--check", "true", "--limit", "None") == Config(path=Path("x"))


def test_settings_by_place_and_words_after_two_dashes():
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Placed:
        """Words."""

        store: Positional[str]
        keys: Positional[tuple[str, ...]] = ()
        number: Annotated[int, Alias("-n")] = 1
        json: bool = False

    expected = Placed(store="s", keys=("a", "-b"), number=3, json=True)
    assert parse_config(Placed, ["--json", "s", "-n", "3", "a", "--", "-b"], "x") == expected
    assert parse_config(Placed, ["s", "a", "--json", "--number=3", "--", "-b"], "x") == expected


def test_the_settings_of_a_part_are_flags_of_the_config_and_may_be_nested_in_files(tmp_path):
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Optim:
        learning_rate: Annotated[float, Interval(gt=0)] = 0.1
        """How fast."""
        steps: int = 1

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Nested:
        """Nested."""

        optim: Annotated[Optim, Prefix("optim_")] = field(default_factory=Optim)
        name: str = "n"

    file = tmp_path / "settings.yaml"
    file.write_text("optim: {learning_rate: 0.5, steps: 2}\n")
    config = parse_config(Nested, ["--config", str(file), "--optim-steps", "3"], "x")
    assert config == Nested(optim=Optim(learning_rate=0.5, steps=3))
    assert as_flat(config) == {"optim_learning_rate": 0.5, "optim_steps": 3, "name": "n"}
    file.write_text("optim: {speed: 1}\n")
    with pytest.raises(ConfigError, match=r"sets 'optim_speed', which is not a setting"):
        parse_config(Nested, ["--config", str(file)], "x")


def test_the_record_of_a_run_is_a_settings_file_of_its_own_stage(tmp_path):
    file = tmp_path / "config.json"
    file.write_text('{"stage": "stage1", "path": "x", "epochs": 2, "limit": null, "made": ["a"]}')
    with pytest.raises(ConfigError, match="'made', which is not a setting"):
        parse_config(Config, ["--config", str(file)], "keyclip train stage1")
    file.write_text('{"stage": "stage1", "path": "x", "epochs": 2, "limit": null, "derived": ["a"]}')
    config = parse_config(Config, ["--config", str(file), "--epochs", "3"], "keyclip train stage1")
    assert config == Config(path=Path("x"), epochs=3)
    with pytest.raises(ConfigError, match="is the record of a run of 'stage1'; this command is 'keyclip train stage2'"):
        parse_config(Config, ["--config", str(file)], "keyclip train stage2")


def test_a_settings_file_that_never_ends_is_refused(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.yaml")
    for file, words in ((tmp_path / "pipe.yaml", "a pipe or a device"), (Path("/dev/zero"), "a pipe or a device")):
        status, error = fails(capsys, "--config", str(file))
        assert (status, words in error) == (1, True)


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


def test_a_full_disk_is_one_sentence(capsys):
    def fail() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert exit_status(fail) == 1
    assert capsys.readouterr().err == "keyclip: error: the system refuses to go on: No space left on device\n"


def recurse() -> None:
    recurse()


@pytest.mark.parametrize(
    "failing",
    [
        recurse,
        lambda: "\udc80".encode(),
        lambda: {}["x"],
        lambda: 1 // 0,
        lambda: (_ for _ in ()).throw(OSError("odd")),
    ],
    ids=["recursion", "unicode", "key", "zero", "system"],
)
def test_what_nobody_foresaw_is_one_sentence_that_names_the_file_of_the_traceback(
    tmp_path, capsys, monkeypatch, failing
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert exit_status(lambda: next(iter([failing()])) and None) == 1
    error = capsys.readouterr().err
    (file,) = tmp_path.iterdir()
    assert re.fullmatch(rf"keyclip: error: unexpected [^\n]+; the traceback is in '{file}'\n", error)
    assert "Traceback (most recent call last)" in file.read_text()


def test_the_traceback_is_printed_when_it_is_asked_for(capsys, monkeypatch):
    monkeypatch.setenv("KEYCLIP_TRACEBACK", "1")
    assert exit_status(lambda: 1 // 0) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def run_with_a_reader_that_stops(code: str) -> tuple[int, bytes]:
    """Status and stderr of a program whose stdout is closed after its first bytes; then its stdin ends."""
    read, write = os.pipe()
    code = f"import sys; from store.common.command import exit_status\n{code}\nsys.exit(exit_status(work))"
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

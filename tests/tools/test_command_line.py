"""The command line as a whole: groups, completion, training, and every flag of every command filled wrongly."""

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from embedder.run.config import EmbedConfig
from store.common.settings import settings_of
from tests import ROOT
from tools.__main__ import COMMANDS, main
from tools.commands.train import take_ranks
from trainer.__main__ import STAGES
from trainer.run.launching import launch_environment

GROUPS = sorted({words[:length] for words in COMMANDS for length in range(1, len(words))})
CONFIGS = {" ".join(words): (module, "Config") for words, (module, _) in COMMANDS.items()}
CONFIGS |= {f"train {stage}": (module, config) for stage, (module, config, *_) in STAGES.items()}


def keyclip(*words: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("keyclip")), *words],
        cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("group", GROUPS, ids=" ".join)
def test_a_group_shows_its_own_commands(capsys, group):
    for arguments, status in (["--help"], 0), (["-h"], 0), ([], 2):
        assert main([*group, *arguments]) == status
        out = capsys.readouterr().out
        for words, (_, what) in COMMANDS.items():
            line = any(" ".join(words) in line and what in line for line in out.splitlines())
            assert line == (words[: len(group)] == group)


def test_the_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("keyclip ")


def test_every_shell_is_offered_every_command_and_flag(capsys):
    assert main(["completion"]) == 2
    assert main(["completion", "cmd"]) == 2
    assert main(["completion", "--help"]) == 0
    assert "~/.config/fish/completions/keyclip.fish" in capsys.readouterr().out
    for shell in ("bash", "zsh", "fish"):
        assert main(["completion", shell]) == 0
        out = capsys.readouterr().out
        for words in ("coverage", "clip-retrieval", "stage2", "lora-rank", "caption-fields", "no-progress", "gpus"):
            assert words in out, (shell, words)
        if shell == "bash":
            assert subprocess.run(["bash", "-n"], input=out, text=True, check=False).returncode == 0


WRONG = [
    "",
    " ",
    "a\0b",
    "caf\udce9",
    "-1",
    "nan",
    "1e999",
    "9" * 5000,
    "x" * 5000,
    "[[[",
    "{0..9999999999}",
    "@/dev/zero",
]


@pytest.mark.parametrize("command", CONFIGS)
def test_no_value_of_a_flag_is_more_than_a_sentence(capsys, command):
    module, config = CONFIGS[command]
    main_of = main
    for setting in settings_of(getattr(pkgutil.resolve_name(module), config)).values():
        bounded = {int, float, bool} & set(setting.types) or setting.choices
        for wrong in WRONG if bounded else ():
            words = [*command.split(), f"{setting.flag}={wrong}"]
            try:
                status = main_of(words)
            except SystemExit as caught:
                status = caught.code
            captured = capsys.readouterr()
            assert status == 2, words
            assert captured.err.startswith("keyclip: error: "), words
            assert captured.err.count("\n") == 1, words
            assert len(captured.err) < 1000, words


@pytest.mark.parametrize("command", CONFIGS)
def test_a_command_without_its_settings_or_with_an_unknown_one_is_one_sentence(capsys, command):
    module, config = CONFIGS[command]
    settings = settings_of(getattr(pkgutil.resolve_name(module), config)).values()
    cases = [["--no-such-flag", "1"], ["--config", "/dev/null/x"]]
    for words in cases:
        try:
            status = main([*command.split(), *words])
        except SystemExit as caught:
            status = caught.code
        error = capsys.readouterr().err
        assert status in (1, 2)
        assert error.startswith("keyclip: error: ")
        assert error.count("\n") == 1
    for setting in settings:
        assert " " not in setting.flag


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (
            "vectors export parquet s --output o --fields f --rows-per-file 0",
            "--rows-per-file is 0; expected at least 1",
        ),
        ("bench store --dim 0", "--dim is 0; expected at least 1"),
        ("data sample -n 1 --keys k --output o --seed -1", "--seed is -1; expected at least 0"),
        ("train stage2 --seed -1", "--seed is -1; expected at least 0"),
        ("serve --port 70000", "--port is 70000; expected at most 65535"),
        ("demo-data --output o --image-size 100000", "--image-size is 100000; expected at most 8192"),
        ("store search s --k 0", "--k is 0; expected at least 1"),
    ],
)
def test_numbers_without_sense_are_refused_before_work(capsys, command, sentence):
    with pytest.raises(SystemExit, match="2"):
        main(command.split())
    assert sentence in capsys.readouterr().err


def test_an_error_of_embed_is_printed_once():
    # the command prints the error; the log has no file
    code = "import embedder, logging; logging.getLogger('keyclip.embedder').error('once')"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")


def test_embedding_takes_a_record_of_settings(tmp_path, capsys):
    (tmp_path / "embed.yaml").write_text("model: m\nstore: s\ncaption_fields: [c]\nshards: [pipe:touch made]\n")
    assert main(["embed", "--config", str(tmp_path / "embed.yaml")]) == 1
    assert "shards of the settings file" in capsys.readouterr().err
    assert set(settings_of(EmbedConfig)) >= {"model", "store", "caption_fields", "shards"}


def test_the_number_of_ranks_is_taken_from_the_flags():
    assert take_ranks(["stage1", "--gpus", "2", "--seed", "1"]) == (2, ["stage1", "--seed", "1"])
    assert take_ranks(["stage1", "--num-processes=3"]) == (3, ["stage1"])
    assert take_ranks(["stage1"]) == (1, ["stage1"])


@pytest.mark.parametrize("number", ["0", "-1", "x", "", "99999"])
def test_a_number_of_ranks_that_makes_no_sense_is_refused(capsys, number):
    assert main(["train", "stage1", f"--gpus={number}"]) == 1
    assert "--gpus is" in capsys.readouterr().err


def test_training_shows_its_stages_and_takes_the_flags_of_the_module(capsys):
    assert main(["train", "--help"]) == 0
    assert "keyclip train STAGE [--gpus N]" in capsys.readouterr().out
    assert main(["train"]) == 2
    assert main(["train", "stage9"]) == 2
    assert "there is no stage 'stage9'" in capsys.readouterr().err
    assert main(["train", "stage1", "--recipe", "none", "--output", "o"]) == 1
    assert "no recipe 'none'" in capsys.readouterr().err


def test_several_ranks_train_from_a_folder_with_a_trainer_of_the_users_own(tmp_path):
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "__init__.py").write_text("raise SystemExit('the wrong trainer')")
    result = subprocess.run(
        [sys.executable, "-m", "trainer", "stage9"],
        cwd=tmp_path, env=launch_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (result.returncode, "there is no stage 'stage9'" in result.stderr) == (2, True)


@pytest.mark.slow
def test_several_ranks_are_launched(tmp_path):
    result = keyclip("train", "stage9", "--gpus", "2", cwd=tmp_path)
    assert result.returncode != 0
    assert result.stderr.count("there is no stage 'stage9'") == 2


@pytest.mark.parametrize("package", ["store", "trainer"])
def test_a_package_of_the_users_own_in_our_place_is_one_sentence(tmp_path, package):
    (tmp_path / f"{package}.py").write_text("raise SystemExit('it ran')")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    result = subprocess.run(
        [sys.executable, "-m", "tools", "store", "info", "s"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr.startswith(f"keyclip: error: the Python package '{package}' comes from ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("module", ["trainer", "embedder"])
def test_a_launched_module_notices_a_store_of_the_users_own(tmp_path, module):
    (tmp_path / "store.py").write_text("raise SystemExit('it ran')")
    result = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr.startswith("keyclip: error: the Python package 'store' is ")


def test_usage_that_nobody_reads_to_its_end_is_silent():
    process = subprocess.Popen(
        [sys.executable, "-m", "tools"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": ""},
    )  # fmt: skip
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 2
    process.stderr.close()

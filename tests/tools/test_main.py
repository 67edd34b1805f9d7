"""``keyclip`` finds its commands, and only loads the one that is called."""

import inspect
import pkgutil
import subprocess
import sys

import pytest

from tests import ROOT
from tools.__main__ import COMMANDS, main, usage


def test_without_a_command_it_shows_the_commands_and_fails(capsys):
    assert main([]) == 2
    assert capsys.readouterr().out == usage()


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_every_command_with_what_it_does(capsys, flag):
    assert main([flag]) == 0
    out = capsys.readouterr().out
    for words, (_, what) in COMMANDS.items():
        assert any(" ".join(words) in line and what in line for line in out.splitlines())
    assert "deepspeed" in out


def test_an_unknown_command_is_one_sentence(capsys):
    assert main(["fly", "--path", "x"]) == 2
    error = capsys.readouterr().err
    assert error == "keyclip: error: there is no command 'fly'; keyclip --help lists them\n"
    assert main(["store", "infp"]) == 2
    assert "no command 'store infp'; did you mean keyclip store info?" in capsys.readouterr().err


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_teaches_itself(capsys, words):
    module = pkgutil.resolve_name(COMMANDS[words][0])
    with pytest.raises(SystemExit) as caught:
        main([*words, "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert f"usage: keyclip {' '.join(words)}" in out
    assert f"keyclip {' '.join(words)} " in module.Config.__doc__
    first = inspect.cleandoc(module.Config.__doc__).split(".")[0]
    assert " ".join(first.split()) in " ".join(out.split())


def test_errors_of_a_command_become_a_sentence_and_status_1(tmp_path, capsys):
    argv = ["prompts", "--classes", str(tmp_path / "none.json"), "--output", str(tmp_path / "prompts.jsonl")]
    assert main(argv) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"keyclip: error: the classes file '{tmp_path}/none.json' cannot be read")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "words", ["", "embed", "serve", "store info", "store search", "data check", "browse", "vectors import dpt"]
)
def test_help_loads_neither_torch_nor_transformers(words):
    code = (
        "import sys; from tools.__main__ import main\n"
        f"try: main({[*words.split(), '--help']})\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'transformers', 'deepspeed'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    assert result.returncode == 0

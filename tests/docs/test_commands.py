"""The programs take every command that a document shows, and the documents name everything there is."""

import ast
import importlib
import pkgutil
import re
import shlex

import pytest

from tests.docs.commands import ROOT, commands_in, parse

FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "store" / "FORMAT.md"]
DOCUMENTS = [str(path.relative_to(ROOT)) for path in [*FILES, *sorted((ROOT / "docs").rglob("*.md"))]]
SHOWN = [shown for document in DOCUMENTS for shown in commands_in(document)]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: f"{shown.document}:{shown.line}")
def test_a_shown_command_is_taken(shown, capsys):
    try:
        parse(shown)
    except SystemExit:
        pytest.fail(f"{shown.document}, line {shown.line}: {' '.join(shown.words)}\n{capsys.readouterr().err}")


def test_the_pages_show_what_they_promise():
    programs = {document: [shown.program for shown in SHOWN if shown.document == document] for document in DOCUMENTS}
    assert {"index", "check", "match", "captions", "sample"} == {
        words[1] for words in programs["docs/preparation.md"] if words[0] == "data"
    }
    for step in (("img2dataset",), ("data", "check"), ("embedder",), ("trainer", "stage1"), ("trainer", "stage2")):
        assert step in programs["docs/cc3m.md"]
    assert programs["docs/cc3m.md"][-3:] == [("eval",), ("report",), ("export",)]
    multi_node = [shown for shown in SHOWN if "--hostfile" in shown.words]
    assert [shown.program for shown in multi_node] == [("trainer", "stage2")]


def test_a_command_that_is_not_taken_is_noticed():
    good = next(shown for shown in SHOWN if shown.program == ("data", "sample"))
    with pytest.raises(SystemExit):
        parse(good.replaced({"--seed": "--seeds"}))
    for recipe in (shown for shown in SHOWN if "--recipe" in shown.words and shown.words[1] != "compare"):
        with pytest.raises(SystemExit):
            parse(recipe.replaced({"--store": "--stores"}))


def test_every_target_of_make_that_a_document_names_exists():
    for document in DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        for words in re.findall(r"`make ([^`]+)`|^make ([^#\n]+)", text, re.MULTILINE):
            for target in shlex.split("".join(words).split("&&")[0]):
                assert "=" in target or re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), f"{document}: make {target}"


def test_every_module_that_a_document_runs_exists():
    for document in DOCUMENTS:
        for module in re.findall(
            r"python -m ((?:tests|tools|trainer|embedder)[\w.]*)", (ROOT / document).read_text("utf-8")
        ):
            path = ROOT.joinpath(*module.split("."))
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), f"{document}: {module}"


def test_every_file_of_the_project_that_a_document_names_exists():
    for document in DOCUMENTS:
        if document == "CHANGELOG.md":  # it also names files of earlier versions
            continue
        named = re.findall(
            r"`((?:store|embedder|trainer|tools|tests|docs)/[\w./-]*?)`", (ROOT / document).read_text(encoding="utf-8")
        )
        for name in named:
            assert (ROOT / name).exists(), f"{document} names {name}"


def test_every_python_name_that_a_document_names_exists():
    for document in DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8") if document != "CHANGELOG.md" else ""
        for name in re.findall(r"`((?:store|embedder|trainer|tools)\.[\w.]+)", text):
            if not name.endswith((".json", ".py", ".")):
                pkgutil.resolve_name(name)


def test_every_import_that_a_document_shows_works():
    for document in DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom):
                    module = importlib.import_module(str(node.module))
                    assert all(hasattr(module, alias.name) for alias in node.names), f"{document}: {node.module}"
                elif isinstance(node, ast.Import):
                    assert all(importlib.import_module(alias.name) for alias in node.names)

"""Every command that a document shows is one that the programs take."""

import pytest

from tests.docs.commands import ROOT, commands_in, parse

DOCUMENTS = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))]
SHOWN = [shown for document in DOCUMENTS for shown in commands_in(document)]


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: f"{shown.document}:{shown.line}")
def test_a_shown_command_is_taken(shown, capsys):
    try:
        parse(shown)
    except SystemExit:
        pytest.fail(f"{shown.document}, line {shown.line}: {' '.join(shown.words)}\n{capsys.readouterr().err}")


def test_the_walks_show_what_they_promise():
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
    recipe = next(shown for shown in SHOWN if "--recipe" in shown.words)
    with pytest.raises(SystemExit):
        parse(recipe.replaced({"--store": "--stores"}))

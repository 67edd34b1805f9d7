"""``keyclip report`` as a user calls it."""

from tests.tools.report.document import parse
from tests.tools.report.fixtures import write_all, write_result
from tools.__main__ import main


def test_it_writes_one_file_and_prints_the_headline_and_the_table(tmp_path, capsys):
    inputs = [str(path) for path in write_all(tmp_path)]
    output = tmp_path / "new/folder/report.html"
    assert main(["report", *inputs, "--output", str(output), "--title", "Arms", "--notes", "one", "two"]) == 0
    out = capsys.readouterr().out
    assert "In zero-shot accuracy, it is better than LLM2CLIP but worse than CLIP." in out
    assert "ProCLIP         24.1 %*" in out
    assert out.endswith(f"report: {output}\n")
    document = parse(output.read_text(encoding="utf-8"))
    assert document.one("h1").text == "Arms"
    assert (
        len(document.one("section", id="training").all("figure", class_="plot")) == 6 + 8
    )  # a stage of one run, another of two
    assert list(output.parent.iterdir()) == [output]


def test_the_markdown_form_holds_the_same_tables(tmp_path, capsys):
    inputs, output = [str(path) for path in write_all(tmp_path)], tmp_path / "report.md"
    assert main(["report", *inputs, "--output", str(tmp_path / "r.html"), "--markdown", str(output)]) == 0
    text = output.read_text()
    assert "In zero-shot accuracy, it is better than LLM2CLIP but worse than CLIP." in text
    assert "| ProCLIP | **24.1 %** | **33.8** | **30.1 %** | **25.8** | **43.0** | 27.1 % | **60.2 %** |" in text
    assert "| setting | llm2clip | proclip |" in text
    assert "| lambda\\_reg | 0.0 | 0.0004 |" in text


def test_a_wrong_input_is_one_sentence_and_leaves_no_file(tmp_path, capsys):
    good, output = write_result(tmp_path), tmp_path / "report.html"
    assert main(["report", str(good), str(tmp_path / "absent.json"), "--output", str(output)]) == 1
    assert capsys.readouterr().err == (
        f"keyclip: error: no such file: '{tmp_path}/absent.json'; "
        "give a run folder or a json file that `keyclip eval` wrote\n"
    )
    assert not output.exists()


def test_the_output_must_be_html_so_that_a_result_is_not_overwritten_by_mistake(tmp_path, capsys):
    good = write_result(tmp_path)
    assert main(["report", str(good), "--output", str(good)]) == 1
    assert "must be the name of an .html file" in capsys.readouterr().err
    assert good.read_text().startswith("{")

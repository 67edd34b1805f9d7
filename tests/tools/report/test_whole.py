"""A report of every table of the paper: in Markdown, in HTML, and in a browser on a small screen."""

import datetime
from pathlib import Path

import pytest

from tests.tools.report.document import parse
from tests.tools.report.fixtures import directions, result, transparent_pixel
from tests.tools.report.whole import KINDS, LANGUAGES, parsed
from tools.report.material.inputs import Material, Run, parse_result
from tools.report.pages import documents
from tools.report.pages.contents import Report

EVIL = "a_b *c* `d` <b>|[x](y) # &amp; ![z](w)\n- \\e"
ARMS = ("clip", "llm2clip", "stage1", "stage1@structure=False", "no-distillation", "proclip", "proclip@lambda_reg=1e-3")


@pytest.fixture(scope="module")
def whole():
    hit = {"key": "k1", "score": 0.5, "correct": False, "image": transparent_pixel()}
    example = {"query": "long " * 40, "key": "k2", "rank": 9, "retrieved": [hit] * 5, "image": transparent_pixel()}
    results = [parsed(name, examples=[example]) for name in ARMS]
    config = {"stage": "stage2", "optimizer": {"a-name-that-is-long": "x" * 90}}
    runs = [Run(name, Path("runs") / name, config, [{"step": 1, "loss": 1.0}]) for name in ("a", "b")]
    return Report(Material(runs, results), date=datetime.date(2026, 1, 2))


def test_every_table_of_the_paper_is_there(whole):
    document = parse(documents.html(whole))
    headings = [node.text for name in ("tables", "ablations") for node in document.one("section", id=name).all("h3")]
    assert headings == [
        "Retrieval, R@1 (table 1)",
        "Zero-shot classification (table 2)",
        "Robustness (table 3)",
        "Composition, SugarCrepe (figure 4)",
        "Fine-grained, MMVP-VLM (figure 5)",
        "Linear probe (table 15)",
        "Drift",
        "Components (table 5)",
        "Weight of the self-distillation (table 7)",
    ]
    rows = document.one("section", id="languages").one("table").table()
    assert [row[0] for row in rows] == ["language", "all", *LANGUAGES.split()]


def test_averages_and_kinds_are_what_the_results_say(whole):
    tables = {one.heading.partition(" ")[0]: one.table for one in whole.paper_tables}
    proclip = next(result for result in whole.main.arms if result.name.startswith("ProCLIP"))
    robust = dict(tables["Robustness"].rows)[proclip.name]
    assert len(robust) == 6
    assert robust[0] == pytest.approx(sum(robust[1:]) / 5)
    kinds = tables["Composition,"]
    assert [column.name for column in kinds.columns] == [
        *("mean", "add object", "add attribute", "replace object", "replace attribute", "replace relation"),
        *("swap object", "swap attribute"),
    ]
    assert dict(kinds.rows)[proclip.name][1:] == tuple(proclip.scores["composition"][f"sugarcrepe/{k}"] for k in KINDS)
    assert len(tables["Fine-grained,"].columns) == 10


def test_variants_of_arms_are_in_the_ablations_alone(whole):
    names = [arm for arm, _ in whole.paper_tables[0].table.rows]
    assert not any("lambda_reg" in name for name in names)
    assert any("lambda_reg" in arm for arm, _ in whole.ablations[1].table.rows)


def test_tables_that_nothing_fills_are_absent():
    report = Report(Material(results=[parse_result(result("CLIP", drift=None), Path("c.json"))]), "x")
    assert [one.heading for one in report.paper_tables] == ["Retrieval, R@1 (table 1)"]
    document = parse(documents.html(report))
    assert not any(node.attributes["id"] in ("ablations", "languages") for node in document.all("section"))
    assert "Ablations" not in documents.markdown(report)


def test_the_title_names_experiment_version_and_date():
    results = [parse_result(result(name), Path(f"runs/dogs/results/{name}.json")) for name in ("CLIP", "ProCLIP")]
    report = Report(Material(results=results), date=datetime.date(2026, 1, 2))
    assert report.title == "dogs: ways to tune CLIP, compared"
    assert report.made.endswith(", 2 January 2026")


def test_markdown_escapes_captions_and_names():
    example = {"query": EVIL, "key": EVIL, "rank": 1, "retrieved": []}
    data = result(EVIL, examples=[example], retrieval={EVIL: directions(0.1, 9)})
    text = documents.markdown(Report(Material(results=[parse_result(data, Path("e.json"))]), EVIL, [EVIL]))
    escaped = r"a\_b \*c\* \`d\` \<b\>\|\[x\](y) \# \&amp; \!\[z\](w) - \\e"
    assert text.splitlines()[2] == f"# {escaped}"
    assert f"| {escaped} | {escaped} | found first |" in text
    assert "<b>" not in text
    assert "\n- \\" not in text


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_400_pixels_and_asks_for_nothing(whole, tmp_path, chromium, scheme):
    file = tmp_path / "report.html"
    file.write_text(documents.html(whole), encoding="utf-8")
    page = chromium.new_page(viewport={"width": 400, "height": 800}, color_scheme=scheme)
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(file.as_uri())
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 400
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 400
    # the first column stays in sight while a table is scrolled
    left = page.evaluate(
        "(() => { const box = document.querySelector('#tables .scroll'); box.scrollLeft = 200;"
        "return box.querySelector('tbody th').getBoundingClientRect().left - box.getBoundingClientRect().left })()"
    )
    assert left == pytest.approx(0, abs=1)
    page.close()
    assert [url for url in requests if not url.startswith("data:")] == [file.as_uri()]
    assert complaints == []

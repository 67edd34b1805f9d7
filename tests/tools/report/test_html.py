"""The report is well formed, holds the right numbers at the right places, and lets nothing in or out."""

import datetime
import math
import re
from pathlib import Path

import pytest

from tests.tools.report.document import parse
from tests.tools.report.fixtures import ARMS, directions, log_lines, result, transparent_pixel, write_run
from tools.report.material.inputs import Material, Run, load_run, parse_result
from tools.report.pages import documents
from tools.report.pages.contents import Report

EVIL = '<script>alert("&amp;")</script>\' onload="x'
PIXEL = transparent_pixel()


def arm(name, **changes):
    return parse_result(result(name, **changes), Path("arm.json"))


def run(name, lines=None, **config):
    return Run(name, Path("runs") / name, config, list(lines or log_lines(20)))


def example(query="a red star", rank=2, places=5, **changes):
    hits = [
        {"key": f"k{place}", "score": 0.5, "correct": place == rank, "image": PIXEL} for place in range(1, places + 1)
    ]
    return {"query": query, "key": f"k{rank}", "rank": rank, "retrieved": hits, **changes}


def render(runs, results, title, notes=(), uses=()):
    return documents.html(Report(Material(runs, results, uses), title, notes, date=datetime.date(2026, 1, 2)))


def section(document, anchor):
    return document.one("section", id=anchor)


def test_the_document_is_well_formed_and_has_its_sections_in_order():
    runs = [run("stage1", lr=0.1), run("stage2", lr=0.2)]
    document = parse(render(runs, [arm(name, examples=[example()]) for name in ARMS], "A title", ["One note."]))
    assert [node.attributes["id"] for node in document.all("section")] == [
        "verdict",
        "results",
        "tables",
        "ablations",
        "examples",
        "training",
        "settings",
        "sources",
    ]
    links = [node.attributes["href"] for node in document.one("nav").all("a")]
    assert links == [f"#{node.attributes['id']}" for node in document.all("section")]
    assert document.one("h1").text == "A title"
    assert re.fullmatch(r"A title \(keyclip .+, 2 January 2026\)", document.one("title").text)
    assert document.all("header")[0].one("p", class_="note").text == "One note."


def test_what_is_not_given_leaves_no_empty_section():
    only_runs = parse(render([run("stage1")], [], "x"))
    assert [node.attributes["id"] for node in only_runs.all("section")] == ["training", "settings", "sources"]
    only_results = parse(render([], [arm("CLIP")], "x"))
    assert [node.attributes["id"] for node in only_results.all("section")] == [
        "verdict",
        "results",
        "tables",
        "sources",
    ]


def test_equal_inputs_give_equal_documents():
    assert render([run("a")], [arm("CLIP")], "x") == render([run("a")], [arm("CLIP")], "x")


def test_the_summary_has_arms_as_rows_and_each_number_in_its_cell():
    rows = section(parse(render([], [arm(name) for name in ARMS], "x")), "results").all("table")[0].table()
    assert rows[0] == ["", "short", "long", "drift", "zero-shot"]
    names = ["recall ↑", "rank ↓", "recall ↑", "rank ↓", "rank ↓", "top-1 ↑", "top-5 ↑"]
    assert [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in rows[1]] == ["arm", *names]
    assert rows[2] == ["CLIP", "20.0 %", "40.5", "25.0 %", "32.5", "40.5", "30.0 %", "50.0 %"]
    assert rows[5] == ["ProCLIP", "24.1 %", "33.8", "30.1 %", "25.8", "43.0", "27.1 %", "60.2 %"]


def test_the_best_of_each_column_is_bold():
    table = section(parse(render([], [arm(name) for name in ARMS], "x")), "results").all("table")[0]
    bold = [[cell.text for cell in row.all("strong")] for row in table.all("tr")[2:]]
    assert bold == [["30.0 %"], [], [], ["24.1 %", "33.8", "30.1 %", "25.8", "43.0", "60.2 %"]]


def test_bars_are_as_long_as_the_share_of_the_largest_value():
    two = [arm("A", retrieval={"s": directions(0.1, 9)}), arm("B", retrieval={"s": directions(0.025, 9)})]
    table = section(parse(render([], two, "x")), "results").all("table")[0]
    bars = [float(row.all("svg")[0].all("rect")[1].attributes["width"]) for row in table.all("tr")[2:]]
    assert bars == [100.0, 25.0]


def test_the_verdict_shows_the_headline_the_other_arms_and_doubts():
    arms = [arm(name) for name in ARMS[:3]] + [arm("ProCLIP", num_images=400, clip="other")]
    verdict = section(parse(render([], arms, "x")), "verdict")
    assert "better than LLM2CLIP but worse than CLIP" in verdict.one("p", class_="headline").text
    assert [row[0] for row in verdict.one("table").table()[1:]] == [*ARMS[:3], "the paper finds"]
    warnings = [node.text for node in verdict.all("p", class_="warning")]
    assert "not measured on the same images" in warnings[0]
    assert "ProCLIP: 400 images" in warnings[0]
    assert "different CLIP models" in warnings[1]


def test_a_curve_has_as_many_points_as_the_log():
    document = parse(render([run("stage1", log_lines(37))], [], "x"))
    plots = {plot.one("b").text: plot for plot in section(document, "training").all("figure", class_="plot")}
    assert list(plots) == [
        *("loss, total", "contrastive loss", "distill loss", "temperature", "learning rate", "gradient norm"),
        *("samples per second", "waiting for data, share of time"),
    ]
    for plot in plots.values():
        (line,) = plot.all("polyline")
        assert len(line.attributes["points"].split()) == 37


def test_a_curve_runs_from_the_first_value_at_the_left_to_the_last_at_the_right():
    lines = [{"step": 0, "loss": 4.0}, {"step": 50, "loss": 1.0}, {"step": 100, "loss": 0.0}]
    (line,) = parse(render([run("r", lines)], [], "x")).all("polyline")
    points = [tuple(map(float, point.split(","))) for point in line.attributes["points"].split()]
    # the plot spans x 52..330 and y 10..164, the value axis 0..4
    assert points == [(52.0, 10.0), (191.0, 125.5), (330.0, 164.0)]


def test_a_curve_breaks_at_values_that_are_not_finite_and_says_how_many():
    lines = [{"step": step, "loss": math.nan if step in (3, 4) else 1.0 + step} for step in range(1, 8)]
    (plot,) = parse(render([run("r", lines)], [], "x")).all("figure", class_="plot")
    assert [len(line.attributes["points"].split()) for line in plot.all("polyline")] == [2, 3]
    assert "2 of 7 values are not finite" in plot.one("figcaption").text


def test_a_loss_that_never_was_finite_is_reported_and_not_drawn():
    (plot,) = parse(render([run("r", [{"step": 1, "loss": math.inf}])], [], "x")).all("figure", class_="plot")
    assert plot.one("p", class_="warning").text == "no finite value was logged"


def test_a_single_step_is_a_dot():
    document = parse(render([run("r", [{"step": 5, "loss": 2.0}])], [], "x"))
    assert len(document.all("circle")) == 1


def test_examples_put_the_arms_side_by_side_for_the_same_caption():
    arms = [
        arm("CLIP", examples=[example("a red star", 2), example("a ring", 1)]),
        arm("ProCLIP", examples=[example("a red star", 9, key="k2")]),
    ]
    cards = section(parse(render([], arms, "x")), "examples").all("article")
    assert [card.one("h3").text for card in cards] == ["“a red star”sought: k2", "“a ring”sought: k1"]
    assert [row.one("th").text for row in cards[0].all("tr")] == ["CLIPfound at rank 2", "ProCLIPfound at rank 9"]
    assert [len(row.all("img")) for row in cards[0].all("tr")] == [5, 5]
    right = [
        ["right" in (f.attributes["class"] or "") if "class" in f.attributes else False for f in row.all("figure")]
        for row in cards[0].all("tr")
    ]
    assert right == [[False, True, False, False, False], [False] * 5]
    assert cards[0].all("tr")[0].one("figure", class_="right").one("figcaption").text == "✓"
    assert cards[1].all("tr")[0].one("th").text == "CLIPfound first"


def test_the_sought_picture_is_next_to_its_caption_also_where_no_arm_found_it():
    never = [example(rank=9, key="k9", image=PIXEL.replace("=", "")), example("b", rank=9, key="k8", image=None)]
    cards = section(parse(render([], [arm("A", examples=never)], "x")), "examples").all("article")
    assert [len(card.one("header").all("img")) for card in cards] == [1, 0]


def test_of_older_results_the_sought_picture_is_the_one_that_an_arm_found():
    found = section(parse(render([], [arm("A", examples=[example(rank=2)])], "x")), "examples")
    assert found.one("header").one("img").attributes["src"] == PIXEL
    missed = section(parse(render([], [arm("A", examples=[example(rank=9)])], "x")), "examples")
    assert missed.one("header").all("img") == []


def test_settings_show_the_differences_and_below_what_is_shared():
    runs = [run("a", lr=0.1, optimizer={"decay": 0.05, "name": "adamw"}), run("b", lr=0.2, optimizer={"name": "adamw"})]
    settings = section(parse(render(runs, [], "x")), "settings")
    assert settings.one("table").table() == [
        ["setting", "a", "b"],
        ["lr", "0.1", "0.2"],
        ["optimizer.decay", "0.05", "not set"],
    ]
    assert [pair.text for pair in settings.one("dl").all("div")] == ["optimizer.nameadamw"]


def test_runs_with_the_same_settings_are_said_to_be_so():
    text = section(parse(render([run("a", lr=1), run("b", lr=1)], [], "x")), "settings").text
    assert "All settings are the same." in text


def test_sources_name_checkpoints_shards_and_runs():
    arms = [arm("CLIP", shards=[f"{number}.tar" for number in range(5)]), arm("ProCLIP")]
    sources = section(parse(render([run("stage1", log_lines(20))], arms, "x")), "sources")
    rows = sources.all("table")[0].table()
    assert rows[1][2] == "none, the CLIP as it is"
    assert rows[1][4] == "500 images of 0.tar 1.tar 2.tar and 2 more shards"
    assert rows[2][2] == "runs/ProCLIP/checkpoint"
    assert sources.all("li")[-1].text == "stage1: runs/stage1, 20 logged steps up to 200"


def test_nothing_that_comes_from_inputs_becomes_markup():
    arms = [
        arm(
            EVIL,
            checkpoint=EVIL,
            clip=EVIL,
            shards=[EVIL],
            retrieval={EVIL: directions(0.1, 9)},
            examples=[example(EVIL)],
        ),
        arm("ProCLIP", examples=[example(EVIL)]),
    ]
    lines = [{"step": 1, "loss": 1.0, f"loss/{EVIL}": 2.0, EVIL: 3.0}]
    text = render([run(EVIL, lines, **{EVIL: EVIL})], arms, EVIL, [EVIL])
    document = parse(text)
    assert document.all("script") == []
    assert "<script" not in text
    assert document.one("h1").text == EVIL
    assert document.one("title").text.startswith(EVIL)
    assert f"“{EVIL}”" in document.one("article").one("h3").text
    known = {
        "class",
        "id",
        "href",
        "src",
        "alt",
        "title",
        "scope",
        "colspan",
        "content",
        "name",
        "charset",
        "lang",
        "http-equiv",
        "open",
        "role",
        "aria-label",
        "aria-hidden",
        "viewbox",
        "preserveaspectratio",
    }
    svg = {"x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height", "points", "text-anchor"}
    nodes = [document]
    while nodes:
        node = nodes.pop()
        assert set(node.attributes) <= known | svg, node.attributes
        nodes += [child for child in node.children if not isinstance(child, str)]


def test_the_document_loads_nothing_from_elsewhere():
    text = render([run("a")], [arm(name, examples=[example()]) for name in ARMS], "x")
    document = parse(text)
    assert all(node.attributes["src"].startswith("data:image/") for node in document.all("img"))
    assert document.all("link") == document.all("script") == []
    assert not re.search(r"url\(|@import|https?:", text)
    policy = document.one("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy.attributes["content"].startswith("default-src 'none'")


def test_a_long_log_is_thinned_but_keeps_its_highest_and_lowest_values(tmp_path):
    lines = [
        {"step": step, "loss": 100.0 if step == 7777 else -50.0 if step == 3333 else math.sin(step / 900)}
        for step in range(10_000)
    ]
    loaded = load_run(write_run(tmp_path / "long", lines=lines))
    (line,) = parse(render([loaded], [], "x")).all("polyline")
    heights = [float(point.split(",")[1]) for point in line.attributes["points"].split()]
    assert 1000 <= len(heights) <= 2000
    assert (min(heights), max(heights)) == (pytest.approx(10.0), pytest.approx(164.0))


def test_seeds_are_averaged_and_counted():
    arms = [
        arm(f"{name} (seed {seed})", retrieval={"short": directions(0.1, rank)}, drift=None, zeroshot=None)
        for seed, ranks in enumerate([(30, 20), (40, 50), (50, 20)])
        for name, rank in zip(("LLM2CLIP", "ProCLIP"), ranks, strict=True)
    ]
    document = parse(render([], arms, "x"))
    verdict = section(document, "verdict")
    assert "Means of 3 seeds ± standard deviation" in document.text
    assert "ProCLIP minus the other arms" in verdict.text
    assert verdict.one("table").table() == [
        ["against", "retrieval"],
        ["LLM2CLIP", "+0.00 of 3 seeds"],
        ["the paper finds", "far above CLIP, slightly above LLM2CLIP"],
    ]
    rows = section(document, "results").all("table")[0].table()
    assert rows[2:] == [
        ["LLM2CLIP", "20.0 ± 0.0 %", "40.5 ± 10.030.5 – 50.5"],
        ["ProCLIP", "20.0 ± 0.0 %", "30.5 ± 17.320.5 – 50.5"],
    ]
    assert len(section(document, "sources").one("table").all("tr")) == 1 + 6

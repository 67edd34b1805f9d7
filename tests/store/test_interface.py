"""What a person sees of stores and fields in a terminal and in a notebook, and the example notebook itself."""

import ast
import json

import pytest

import store
from tests import ROOT
from tests.store.examples import make_block, make_spec


@pytest.fixture(params=["lmdb", "zarr"])
def made(request, tmp_path):
    made = store.create(tmp_path / "some.store", backend=request.param)
    made.writer("f<1>", make_spec()).commit("a", *make_block("a", 1500))
    return made


def test_a_store_shows_its_fields_and_their_sizes(made):
    assert repr(made) == (
        f"<Store {made.path!r} ({made.backend}, mode 'a'): 1 field>\n"
        "  'f<1>': 1,500 vectors of 6 float16 in 1 blocks, 18.00 kB; 'captions.0' embedded by 'tiny-llm'"
    )
    page = made._repr_html_()
    for cell in ("f&lt;1&gt;", "1,500", "6", "float16", "18.00 kB", "captions.0", "tiny-llm"):
        assert f"<td>{cell}</td>" in page


def test_a_field_shows_where_it_is_its_sizes_and_its_embedder(made):
    field = made.field("f<1>")
    assert repr(field) == (
        f"<Field 'f<1>' of {made.path!r} ({made.backend}): "
        "1,500 vectors of 6 float16 in 1 blocks, 18.00 kB; 'captions.0' embedded by 'tiny-llm'>"
    )
    page = field._repr_html_()
    for row in ("<td>vectors</td><td>1,500</td>", "<td>pooling</td><td>mean</td>", "<td>dim</td><td>6</td>"):
        assert row in page


def test_what_is_gone_or_damaged_is_shown_as_that_and_raises_nothing(made, tmp_path):
    field = made.field("f<1>")
    made.drop_field("f<1>")
    if made.backend == "lmdb":
        assert "was dropped from the store" in repr(field)
    made.writer("g", make_spec())
    (file,) = (tmp_path / "some.store" / "fields" / "g").glob("data.mdb" if made.backend == "lmdb" else "zarr.json")
    file.write_bytes(bytes(file.stat().st_size))
    damaged = store.open(made.path)
    assert "'g': " in repr(damaged)
    assert "is damaged" in repr(damaged)
    assert "<td>g</td>" in damaged._repr_html_()


def test_the_example_notebook_runs_and_shows_what_it_says(monkeypatch):
    notebook = json.loads((ROOT / "examples" / "store.ipynb").read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    namespace = {}
    shown = []
    for cell in notebook["cells"]:
        assert {"cell_type", "id", "metadata", "source"} <= cell.keys()
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
            body = ast.parse("".join(cell["source"]))
            last = body.body.pop() if isinstance(body.body[-1], ast.Expr) else None
            exec(compile(body, "store.ipynb", "exec"), namespace)
            if last is not None:
                value = eval(compile(ast.Expression(last.value), "store.ipynb", "eval"), namespace)
                shown.append(value._repr_html_() if hasattr(value, "_repr_html_") else repr(value))
    assert "random-numbers" in shown[0]
    assert "<td>vectors</td><td>1,000</td>" in shown[1]
    assert "((2, 64), dtype('float16'))" in shown[2]
    assert any("num_covered=1000" in each and "'000001000'" in each for each in shown)
    assert "['000000000']" in shown
    assert any("key='000000003'" in each for each in shown)

"""The report says what was embedded once and how often it was read."""

import json

import pytest

from store.common.checked import InvalidDataError
from tools.compare.reuse import FieldUse, as_json, sentence
from tools.report.material.inputs import load
from tools.report.pages.terminal import uses_text

USES = [FieldUse("llm/short", 100, 100, 3, 2, 1500), FieldUse("clip/short", 100, 0, 1, 2, 500)]


def test_the_sentence_adds_the_fields_up():
    assert sentence(USES) == (
        "200 vectors were embedded once (100 of them now) and read 2,000 times by trainings and evaluations: "
        "10.0 times each."
    )
    assert "(all of them now)" in sentence(USES[:1])
    assert "(all of them before)" in sentence(USES[1:])


def test_the_table_has_a_line_for_each_field():
    assert uses_text(USES).splitlines()[2:] == [
        "field       vectors  embedded now  trainings  evaluations  vectors read    each",
        "llm/short       100           100          3            2         1,500  15.0 x",
        "clip/short      100             0          1            2           500   5.0 x",
    ]


def test_what_compare_writes_is_read_back(tmp_path):
    file = tmp_path / "reuse.json"
    file.write_text(json.dumps(as_json(USES)))
    assert load([file]).uses == USES
    file.write_text(json.dumps({"format": "keyclip-reuse/1", "fields": [{"field": "a"}]}))
    with pytest.raises(
        InvalidDataError, match=r"at 'fields.0.num_vectors', field required; run `keyclip compare` again"
    ):
        load([file])

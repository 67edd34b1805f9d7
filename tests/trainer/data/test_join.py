"""The join by sample key, against a real store."""

import numpy as np
import pytest

import store
import trainer.data.join
from store.common.errors import ConfigError, FieldNotFoundError, MissingKeysError, StaleCaptionError, StoreNotFoundError
from tests.trainer.conftest import KEYS
from tests.trainer.examples import CAPTION_DIM, JOINT_DIM, add_field, captions_of, make_store, vectors
from trainer.data.join import Join

SHORT = vectors("llm/short", len(KEYS), CAPTION_DIM)
LONG = vectors("llm/long", len(KEYS), CAPTION_DIM)


@pytest.fixture
def join(store_path) -> Join:
    return Join(store_path, ["llm/short", "llm/long"])


def test_vectors_come_in_the_order_of_the_keys(join):
    rows = [7, 0, 23, 7]
    got = join.vectors([KEYS[row] for row in rows], 0)
    assert got.dtype == np.float32
    assert np.array_equal(got, SHORT[rows])
    assert np.array_equal(join.vectors(KEYS, 1), LONG)
    assert join.dim == CAPTION_DIM


def test_each_key_gets_the_field_that_is_drawn_for_it(join):
    rows, draws = [3, 1, 4, 1, 5], np.array([1, 0, 0, 1, 1])
    got = join.drawn([KEYS[row] for row in rows], draws)
    assert np.array_equal(got, np.stack([LONG[3], SHORT[1], SHORT[4], LONG[1], LONG[5]]))


def test_vectors_are_drawn_in_the_precision_that_holds_all_fields_as_stored(tmp_path):
    path = make_store(tmp_path / "s", KEYS[:4])
    for name in ("half/short", "half/long"):
        add_field(path, name, KEYS[:4], CAPTION_DIM, model="llm", dtype="float16")
    draws = np.array([0, 1, 0, 1])
    for fields, dtype in ((("half/short", "half/long"), np.float16), (("llm/short", "half/long"), np.float32)):
        join = Join(path, fields)
        drawn = join.drawn(KEYS[:4], draws)
        assert join.dtype == drawn.dtype == dtype
        exact = np.stack([join.vectors([key], which)[0] for key, which in zip(KEYS, draws, strict=False)])
        assert np.array_equal(drawn.astype(np.float32), exact)


def test_keys_come_in_the_stores_order(join):
    assert join.keys().tolist() == [key.encode() for key in KEYS]


def test_keys_that_some_field_lacks_are_not_covered(tmp_path):
    path = make_store(tmp_path / "s", KEYS[:10])
    add_field(path, "more/short", KEYS[4:], CAPTION_DIM, model="llm")
    join = Join(path, ["llm/short", "more/short"])
    assert join.covered(KEYS, "skip").tolist() == [4 <= i < 10 for i in range(24)]


@pytest.mark.parametrize("at_once", [1, 7, 24])
def test_keys_are_looked_up_some_at_a_time_as_text_or_bytes(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(trainer.data.join, "KEYS_AT_ONCE", at_once)
    join = Join(make_store(tmp_path / "s", KEYS[:10]), ["llm/short"])
    for keys in (KEYS, np.array(KEYS, dtype=np.bytes_)):
        assert join.covered(keys, "skip").tolist() == [i < 10 for i in range(24)]
        with pytest.raises(MissingKeysError, match=r"14 of 24 keys .* first '000000010', '000000011', '000000012';"):
            join.covered(keys, "error")
    assert join.covered([], "error").tolist() == []


def test_a_missing_key_is_refused_naming_field_store_and_remedy(tmp_path):
    path = make_store(tmp_path / "s", KEYS[:20])
    with pytest.raises(MissingKeysError) as caught:
        Join(path, ["llm/short"]).covered(KEYS, "error")
    assert str(caught.value) == (
        f"4 of 24 keys have no vector in field 'llm/short' of store {str(path)!r}, first '000000020', '000000021', "
        "'000000022'; embed their captions with `keyclip embed`; training can leave them out with --missing skip"
    )


def test_captions_that_were_embedded_pass(join):
    join.check_captions(KEYS[:3], [captions_of(key)["long"] for key in KEYS[:3]], 1)


def test_a_caption_that_is_not_carried_is_not_compared(join):
    join.check_captions(KEYS[:2], [None, captions_of(KEYS[1])["short"]], 0)


def test_a_caption_that_changed_is_refused_naming_sample_field_and_caption(join, store_path):
    captions = [captions_of(KEYS[0])["short"], "another caption"]
    with pytest.raises(StaleCaptionError) as caught:
        join.check_captions(KEYS[:2], captions, 0)
    message = str(caught.value)
    assert "the caption of sample '000000001'" in message
    assert f"field 'llm/short' of store {str(store_path)!r}" in message
    assert "'another caption'" in message


def test_a_vector_whose_caption_nobody_knows_fits_every_caption(tmp_path):
    """As an import without captions leaves it."""
    path = make_store(tmp_path / "s", KEYS)
    writer = store.open(path, mode="a").writer("llm/new", store.open(path).field("llm/short").spec)
    writer.commit("block", KEYS[:2], SHORT[:2], np.full(2, store.UNKNOWN_CAPTION, np.uint64))
    Join(path, ["llm/new"]).check_captions(KEYS[:2], ["any", "caption"], 0)


def test_the_captions_of_another_field_are_stale(join):
    with pytest.raises(StaleCaptionError):
        join.check_captions(KEYS[:1], [captions_of(KEYS[0])["long"]], 0)


def test_fields_of_different_widths_are_refused(store_path):
    with pytest.raises(ConfigError, match=rf"differ in width .*{CAPTION_DIM}.*{JOINT_DIM}.*; name fields of one model"):
        Join(store_path, ["llm/short", "clip/short"])


@pytest.mark.parametrize("change", [{"revision": "other"}, {"template": "say {}"}, {"pooling": "last"}])
def test_fields_made_in_different_ways_are_refused(tmp_path, change):
    path = make_store(tmp_path / "s", KEYS)
    add_field(path, "other/long", KEYS, CAPTION_DIM, **change)
    with pytest.raises(ConfigError, match=r"fields 'llm/short' and 'other/long' .* are not of one model"):
        Join(path, ["llm/short", "other/long"])


def test_no_field_is_refused_naming_those_there_are(store_path):
    with pytest.raises(ConfigError, match=r"no field .* is named; there are 'clip/long', 'clip/short', 'llm/long'"):
        Join(store_path, [])


def test_an_unknown_field_or_store_is_refused(store_path, tmp_path):
    with pytest.raises(FieldNotFoundError, match="llm/tall"):
        Join(store_path, ["llm/tall"])
    with pytest.raises(StoreNotFoundError):
        Join(tmp_path / "none.store", ["llm/short"])


def test_it_knows_where_the_captions_stand(join):
    assert [join.caption_field(which) for which in range(2)] == ["short", "long"]
    assert store.open(join.path).field("llm/short").spec.caption_field == "short"


def test_vectors_of_another_model_are_refused_for_an_adapter(tmp_path, join):
    path = make_store(tmp_path / "s", KEYS)
    add_field(path, "mistral/short", KEYS, CAPTION_DIM, revision="v2")
    other = Join(path, ["mistral/short"])
    join.require_made_by(join.made_by, "the adapter")
    with pytest.raises(ConfigError) as caught:
        other.require_made_by(join.made_by, "the adapter")
    assert str(caught.value) == (
        f"the adapter was trained on vectors of 'llm'; field 'mistral/short' of store {str(path)!r} holds vectors of "
        "'mistral' (revision 'main' and 'v2'); name fields of its model"
    )


def test_a_model_under_another_name_is_the_same_model(tmp_path, join):
    path = make_store(tmp_path / "s", KEYS)
    add_field(path, "copy/short", KEYS, CAPTION_DIM, model="/elsewhere/llm")
    Join(path, ["copy/short"]).require_made_by(join.made_by, "the adapter")

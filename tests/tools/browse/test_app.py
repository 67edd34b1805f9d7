"""The pages over HTTP, from a real server."""

import html
import re
import subprocess
import sys
import urllib.parse
import urllib.request

import markupsafe
import pytest

import store
from tests import ROOT
from tests.embedder.service.client import Client
from tests.store.examples import make_block, make_spec
from tests.tools.browse.conftest import HOSTILE_CAPTION, HOSTILE_KEY, KEYS, browsing
from tests.trainer.examples import captions_of, encoded, picture, write_tar
from tools.__main__ import main

HOSTILE = HOSTILE_KEY.replace("/", "-")


def get(browse, path, **parameters):
    """Status and page."""
    query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
    status, page, _ = browse.send("GET", path + query)
    return status, page


def keys_of(page):
    """The keys of the cards, in their order."""
    return [
        html.unescape(key)
        for key in re.findall(r'<a href="/sample[^>]*class="card".*?class="key">(.*?)</span>', page, re.DOTALL)
    ]


def test_samples_come_in_the_order_of_the_shards_page_by_page(browse):
    status, first = get(browse, "/")
    assert (status, keys_of(first)) == (200, KEYS[:24])
    assert captions_of(KEYS[3])["short"] in first
    assert 'rel="next"' in first
    assert keys_of(get(browse, "/", page=1)[1]) == [*KEYS[24:], HOSTILE]
    assert keys_of(get(browse, "/", page=99)[1]) == [*KEYS[24:], HOSTILE]


def test_a_caption_finds_itself_first(browse):
    caption = captions_of(KEYS[17])["long"]
    status, page = get(browse, "/search", q=caption, field="clip/long")
    assert (status, keys_of(page)[0], len(keys_of(page))) == (200, KEYS[17], 24)
    assert ">1.000<" in page
    assert f'value="{caption}"' in page
    more = html.unescape(re.search(r'href="(/search[^"]*k=48[^"]*)"', page)[1])
    assert len(keys_of(get(browse, more)[1])) == 30


def test_a_key_in_the_search_box_leads_to_its_sample(browse):
    status, page = get(browse, "/search", q=KEYS[4], field="clip/short")
    assert status == 200
    assert f'There is a sample of this key: <a href="/sample?key={KEYS[4]}&amp;field=clip%2Fshort"' in page


def test_an_empty_search_shows_the_samples(browse):
    assert keys_of(get(browse, "/search", q=" ")[1]) == KEYS[:24]


def test_a_sample_shows_its_captions_vectors_and_neighbours(browse):
    get(browse, "/near", key=KEYS[5], field="clip/long")
    status, page = get(browse, "/sample", key=KEYS[5], field="clip/long")
    assert status == 200
    for caption in captions_of(KEYS[5]).values():
        assert f"<dd>{caption}</dd>" in page
    assert page.count(">vector</em>") == 2
    assert "Nearest in clip/long" in page
    assert len(keys_of(page)) == 12
    assert KEYS[5] not in keys_of(page)


def test_missing_and_stale_vectors_are_pointed_out(browse):
    assert '<span>clip/long</span><em class="bad">no vector</em>' in get(browse, "/sample", key=KEYS[1])[1]
    assert "made from another caption than today&#x27;s" in get(browse, "/sample", key=KEYS[2])[1].replace(
        "'", "&#x27;"
    )
    status, page = get(browse, "/sample", key="no sample")
    assert (status, '<img src="/image?key=no+sample' in page) == (200, False)


def test_images_are_served_as_they_stand_in_the_shard(browse):
    with urllib.request.urlopen(f"{browse.url}/image?key={KEYS[0]}") as answer:
        assert answer.read() == encoded(picture(store.caption_hash(KEYS[0]) % 1000))
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_what_is_hostile_in_keys_and_captions_stays_text(browse):
    for status, page in (
        get(browse, "/", page=1),
        get(browse, "/sample", key=HOSTILE),
        get(browse, "/search", q=HOSTILE_CAPTION),
        get(browse, "/sample", key="<script>alert(1)</script>"),
        get(browse, "/search", q='"><script>alert(1)</script>', field="<script>"),
    ):
        assert status in (200, 404)
        assert page.count("<script") == 1  # our own, in the head
        assert "<img src=x" not in page
    assert f"<dd>{markupsafe.escape(HOSTILE_CAPTION)}</dd>" in get(browse, "/sample", key=HOSTILE)[1]


def test_fields_show_coverage_and_how_vectors_were_made(browse):
    status, page = get(browse, "/fields")
    assert status == 200
    assert "31 of 31 samples have a vector" in page
    assert "29 of 31 samples have a vector; 1 vectors have no sample here" in page
    assert f'<a href="/sample?key={KEYS[1]}&amp;field=clip%2Flong" class="key">{KEYS[1]}</a>' in page
    assert "<dd>eos</dd>" in page
    status, part = get(browse, "/stats", field="clip/long", part="")
    assert (status, part.startswith('<div class="figures">')) == (200, True)
    assert part.count("<svg") == 2
    assert get(browse, "/stats", field="clip/long")[1].startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/sample?key=none", 404, "there is no sample and no vector of key 'none'"),
        ("/sample?key=%00", 404, "there is no sample and no vector of key"),
        ("/sample?key=%ff%00", 400, "The address is not UTF-8"),
        ("/image?key=none", 404, "there is no image of key 'none'"),
        ("/search?q=x&field=none", 404, "has no field 'none'"),
        ("/stats?field=none", 404, "has no field 'none'"),
        ("/search?q=x&k=0", 400, "k: Input should be greater than or equal to 1"),
        ("/search?q=x&k=1000000", 400, "k: Input should be less than or equal to 240"),
        ("/?page=-1", 400, "page: Input should be greater"),
        ("/sample", 400, "key: Field required"),
        ("/none", 404, "There is no such page."),
        ("/static/../app.py", 404, "There is no such page."),
        ("/static/%2e%2e%2fapp.py", 404, "There is no such page."),
    ],
)
def test_what_is_not_there_is_one_sentence_on_a_page(browse, path, status, message):
    answered, page, _ = browse.send("GET", path)
    assert answered == status
    sentence = html.unescape(re.search(r'role="alert">(.*?)</p>', page)[1])
    assert message in sentence


def test_every_answer_forbids_anything_from_elsewhere(browse):
    for path in ("/", "/none", "/sample?key=none", "/static/browse.js", "/image?key=none", "/search?q=a"):
        headers = browse.send("GET", path)[2]
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; img-src 'self'; ")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_pages_name_no_outside_resource(browse):
    for path in ("/", "/fields", "/static/style.css", "/static/browse.js"):
        text = browse.send("GET", path)[1]
        assert not re.search(r"(?:https?:)?//[a-z]", text.replace("http://www.w3.org/2000/svg", ""))


def test_other_host_names_and_other_methods_are_refused(browse):
    assert browse.send("GET", "/", headers={"Host": "evil.example"})[0] == 400
    assert browse.send("POST", "/search", b"q=x")[0] in (405, 415)


def test_without_the_model_captions_cannot_be_searched_but_keys_can(store_path, shard):
    with browsing(store_path, shards=[shard]) as browse:
        status, page = get(browse, "/search", q="a dog", field="clip/long")
        assert (status, "name the folder with --model" in page) == (400, True)
        assert 'value="a dog"' in page
        status, page = get(browse, "/search", q=KEYS[3], field="clip/long")
        assert (status, f"<dd>{captions_of(KEYS[3])['long']}</dd>" in page) == (200, True)


def test_without_shards_keys_and_neighbours_are_shown_and_what_is_slow_comes_later(store_path):
    with browsing(store_path) as browse:
        stored = store.open(store_path).field("clip/long").keys()
        assert [keys_of(get(browse, "/", page=page)[1]) for page in (0, 1)] == [stored[:24], stored[24:]]
        page = get(browse, "/sample", key=KEYS[3])[1]
        assert keys_of(page) == []
        where = html.unescape(re.search('data-load="([^"]+)"', page)[1])
        part = get(browse, f"{where}&part=")[1]
        assert (part.startswith('<ol class="grid plain">'), len(keys_of(part))) == (True, 12)
        assert get(browse, where)[1].startswith("<!doctype html>")
        page = get(browse, "/sample", key=KEYS[3])[1]  # now that the vectors are read
        assert keys_of(page) == keys_of(part)
        assert "data-load" not in page
        assert "<img" not in page
        assert "samples have a vector" not in get(browse, "/fields")[1]


def test_an_address_that_is_no_utf8_is_refused_and_does_not_stand_for_another(tmp_path):
    written = store.create(tmp_path / "s.store")
    written.writer("\ufffd", make_spec()).commit("a", *make_block("a", 3))
    with browsing(tmp_path / "s.store") as browse:
        assert get(browse, "/stats", field="\ufffd")[0] == 200
        for where in ("/stats?field=%ff", "/sample?key=%ed%a0%80", "/static/%fe"):
            status, page, headers = browse.send("GET", where)
            assert (status, "not UTF-8" in page) == (400, True)
            assert "default-src 'none'" in headers["content-security-policy"]


def test_a_store_without_fields_and_broken_images_are_shown_as_such(tmp_path):
    store.create(tmp_path / "s.store")
    members = [("a.jpg", b"<svg onload='alert(1)'/>"), ("a.json", b'{"caption": "half \\ud83d"}'), ("b.jpg", b"")]
    shard = write_tar(tmp_path / "a.tar", [*members, ("c.png", b"\x89PNG\r\n")])
    with browsing(tmp_path / "s.store", shards=[shard]) as browse:
        status, page = get(browse, "/")
        assert (status, keys_of(page)) == (200, ["a", "b", "c"])
        assert "half \\ud83d" in page
        for key in "ab":
            status, page = get(browse, "/image", key=key)
            assert (status, "neither JPEG, PNG nor WebP" in page) == (404, True)
        assert "The store has no fields yet." in get(browse, "/fields")[1]
        assert get(browse, "/search", q="x")[0] == 404
        assert get(browse, "/sample", key="c")[0] == 200


def test_an_empty_store_without_shards_says_so(tmp_path):
    store.create(tmp_path / "s.store")
    with browsing(tmp_path / "s.store") as browse:
        assert "There is nothing here yet" in get(browse, "/")[1]


def test_the_command_tells_its_address_and_ends_in_order_when_told_to(store_path, shard):
    command = [sys.executable, "-m", "tools", "browse", str(store_path), "--shards", shard, "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)
    line = process.stdout.readline()
    assert re.fullmatch(r"browse at http://127\.0\.0\.1:\d+/\n", line)
    assert keys_of(get(Client(line.split()[2].rstrip("/")), "/")[1]) == KEYS[:24]
    process.terminate()
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0 lets other machines in, and these pages ask for no password"),
        (["--shards", "none.tar"], "no such shard: 'none.tar'"),
    ],
)
def test_what_keeps_it_from_starting_is_one_sentence(store_path, capsys, arguments, message):
    assert main(["browse", str(store_path), *arguments]) == 1
    assert f"keyclip: error: {message}" in capsys.readouterr().err

"""Forms of urls: which spellings are equal in which form."""

import pytest

from tools.prepare.urls import url_forms


def test_the_forms_of_the_table():
    forms = url_forms("HTTPS://www.Live.Example.ORG:443//3/a%20b.JPG?x=1#y")
    assert forms == ("live.example.org/3/a b.JPG?x=1", "3/a b.JPG", "a b")


URL = "https://live.staticflickr.com/3120/2520_a0f_b.jpg"


@pytest.mark.parametrize(
    ("spelling", "equal"),
    [
        ("http://live.staticflickr.com/3120/2520_a0f_b.jpg", "url"),
        ("//live.staticflickr.com/3120/2520_a0f_b.jpg", "url"),
        ("live.staticflickr.com/3120/2520_a0f_b.jpg", "url"),
        ("https://WWW.Live.StaticFlickr.com:443/3120/2520_a0f_b.jpg", "url"),
        ("https://user@live.staticflickr.com./3120//2520%5Fa0f_b.jpg/#top", "url"),
        (" https://live.staticflickr.com/3120/2520_a0f_b.jpg\n", "url"),
        ("https://farm4.staticflickr.com/3120/2520_a0f_b.jpg", "path"),
        ("https://live.staticflickr.com/3120/2520_a0f_b.jpg?zz=1", "path"),
        ("/3120/2520_a0f_b.jpg", "path"),
        ("./3120/2520_a0f_b.jpg", "path"),
        ("images/yfcc/2520_A0F_B.JPEG", "name"),
        ("2520_a0f_b", "name"),
        ("https://live.staticflickr.com/3120/2520_A0F_b.jpg", "name"),
        ("https://live.staticflickr.com/3120/2520_a0f_c.jpg", None),
    ],
)
def test_a_spelling_is_equal_from_one_form_on(spelling, equal):
    names = ("url", "path", "name")
    first = next((n for n, a, b in zip(names, url_forms(spelling), url_forms(URL), strict=True) if a == b), None)
    assert first == equal


@pytest.mark.parametrize("text", ["", " ", "https://", "/", "%", "%%2", "http://[::1]/a", "a\0b", "\ud800", "?", "#"])
def test_odd_texts_have_forms_too(text):
    assert all(isinstance(form, str) for form in url_forms(text))


def test_a_host_alone_has_no_path_to_be_compared():
    assert url_forms("https://example.org/") == ("example.org/", "", "")
    assert url_forms("") == ("", "", "")

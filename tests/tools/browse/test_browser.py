"""The pages in a real Chromium, by keyboard alone."""

import time

import pytest

from tests.tools.browse.conftest import HOSTILE_CAPTION, HOSTILE_KEY, KEYS, browsing
from tests.trainer.examples import captions_of

pytestmark = pytest.mark.browser
FOCUSED_KEY = "document.activeElement.querySelector('.key')?.textContent"


@pytest.fixture
def page(chromium, browse):
    """A page that nothing went wrong on: no script error, no refused resource, no request to elsewhere."""
    context = chromium.new_context(viewport={"width": 1100, "height": 800})
    page = context.new_page()
    page.set_default_timeout(30_000)
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("request", lambda request: request.url.startswith(browse.url) or complaints.append(request.url))
    page.goto(browse.url)
    yield page
    context.close()
    assert complaints == []


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def until(page, condition):
    """Wait for a condition; the pages' policy forbids Playwright's own way, which evaluates text in them."""
    deadline = time.monotonic() + 30
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(20)


def test_a_caption_is_searched_opened_and_left_by_keyboard_alone(page, browse):
    caption = captions_of(KEYS[17])["long"]
    press(page, "/")
    page.keyboard.type(caption)
    press(page, "Enter")
    page.wait_for_url("**/search?*")
    until(page, f"{FOCUSED_KEY} == '{KEYS[17]}'")  # the best hit has the focus
    press(page, "j", "k", "j")
    second = page.evaluate(FOCUSED_KEY)
    assert second != KEYS[17]
    press(page, "Enter")
    page.wait_for_url("**/sample?*")
    assert page.locator("h1").inner_text() == second
    assert captions_of(second)["long"] in page.locator(".captions").inner_text()
    press(page, "Escape")
    page.wait_for_url("**/search?*")
    until(page, f"{FOCUSED_KEY} == '{second}'")  # where we were
    press(page, "Escape")
    page.wait_for_url(f"{browse.url}/")


def test_arrows_move_in_rows_and_columns_and_the_focus_is_seen(page):
    columns = page.evaluate("getComputedStyle(document.querySelector('.grid')).gridTemplateColumns.split(' ').length")
    assert columns > 2
    press(page, "ArrowDown", "ArrowRight", "ArrowDown")
    assert page.evaluate(FOCUSED_KEY) == KEYS[columns + 1]
    press(page, "ArrowUp", "ArrowLeft", "ArrowLeft")
    assert page.evaluate(FOCUSED_KEY) == KEYS[0]
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    press(page, "/", "ArrowDown")
    assert page.evaluate(FOCUSED_KEY) == KEYS[0]


def test_keys_typed_into_the_search_box_are_text(page):
    press(page, "/")
    page.keyboard.type("jk/?[]sf")
    assert page.locator("#q").input_value() == "jk/?[]sf"
    press(page, "Escape")
    assert page.evaluate("document.activeElement.id") != "q"


def test_pages_of_samples_are_turned_and_images_are_drawn(page, browse):
    until(page, "[...document.images].slice(0, 3).every(image => image.naturalWidth == 24)")
    press(page, "]")
    page.wait_for_url("**/?page=1")
    press(page, "[")
    page.wait_for_url(f"{browse.url}/")


def test_fields_show_their_statistics_when_they_are_measured(page):
    press(page, "f")
    page.wait_for_selector(".field:nth-of-type(2) figure svg")
    assert page.locator(".figures").count() == 2
    assert "mean cosine" in page.locator(".figures").first.inner_text()
    press(page, "s")
    page.wait_for_selector("text=31")


def test_the_keys_are_shown_and_hidden(page):
    press(page, "?")
    assert page.locator("dialog").is_visible()
    press(page, "Escape")
    assert page.locator("dialog").is_hidden()


def test_neighbours_that_come_later_can_be_walked_through(chromium, store_path, shard):
    with browsing(store_path, shards=[shard]) as fresh:
        context = chromium.new_context()
        page = context.new_page()
        page.goto(f"{fresh.url}/sample?key={KEYS[3]}")
        page.wait_for_selector("[data-load] [data-item]")
        press(page, "j", "j", "Enter")
        page.wait_for_url(lambda url: KEYS[3] not in url)
        context.close()


def test_hostile_captions_run_nothing(page, browse):
    page.goto(f"{browse.url}/?page=1")
    card = page.locator("[data-item]").last
    assert card.locator(".caption").inner_text().startswith(HOSTILE_CAPTION[:40])
    card.press("Enter")
    page.wait_for_url("**/sample?*")
    assert page.locator("h1").inner_text() == HOSTILE_KEY.replace("/", "-")
    assert page.title().startswith("dogs & ")


def test_a_page_is_usable_on_a_narrow_screen(page):
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    press(page, "f")
    page.wait_for_selector(".field:nth-of-type(2) figure svg")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_policy_keeps_scripts_from_talking_to_others(chromium, browse):
    context = chromium.new_context()
    page = context.new_page()
    page.goto(browse.url)
    outcome = page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'answered', error => error.name)")
    inline = page.evaluate("() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1'; "
                           "document.body.append(s); return window.ran }")  # fmt: skip
    context.close()
    assert (outcome, inline) == ("TypeError", None)

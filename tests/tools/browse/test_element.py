"""Elements of pages are escaped where text enters."""

from tools.browse.element import Markup, group, tag


def test_text_is_escaped_and_markup_is_not():
    assert tag("p", "a < b & c", tag("b", "d")) == "<p>a &lt; b &amp; c<b>d</b></p>"
    assert tag("p", class_="x", aria_label='"', id=None) == '<p class="x" aria-label="&quot;"></p>'
    assert tag("img", src="a") == '<img src="a">'
    assert group("<", None, ["a", [Markup("<br>"), 5]]) == "&lt;a<br>5"

"""The pages as HTML. All text goes through :func:`~tools.browse.element.tag`, which escapes it."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from store import FieldInfo
from tools.browse.element import Child, Markup, group, tag
from tools.browse.library import Card, FieldState, Sample
from tools.query.coverage import MAX_LISTED, KeyCoverage
from tools.query.printing import gigabytes

KEYS = (
    ("/", "search"),
    ("j  k", "next, previous; arrows too"),
    ("Enter", "open"),
    ("Esc", "leave the search box, or go back"),
    ("[  ]", "previous, next page of samples"),
    ("s  f", "samples, fields"),
    ("?", "these keys"),
)


MAX_QUERY = 4000
_PLAIN = {
    "placeholder": "Type a caption, or a key",
    "autocomplete": "off",
    "spellcheck": "false",
    "aria_label": "caption to search for",
}


def link(path: str, **parameters: str | int | None) -> str:
    """A path with its query; parameters that are None are left out."""
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"{path}?{urlencode(given, errors='surrogatepass')}" if given else path


def page(title: str, fields: Sequence[str], *body: Child, field: str | None = None, query: str = "") -> str:
    """A whole page: head, search box, body, keys."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{title} · keyclip"),
        tag("link", rel="icon", href="/static/icon.svg", type="image/svg+xml"),
        tag("link", rel="stylesheet", href="/static/style.css"),
        tag("script", src="/static/browse.js", defer="defer"),
    )
    whole = tag("html", head, tag("body", _bar(fields, field, query), tag("main", *body), _keys()), lang="en")
    return f"<!doctype html>{whole}"


def _bar(fields: Sequence[str], field: str | None, query: str) -> Markup:
    options = [tag("option", name, value=name, selected="selected" if name == field else None) for name in fields]
    form = tag(
        "form",
        tag("input", type="search", name="q", id="q", value=query, maxlength=MAX_QUERY, **_PLAIN),
        tag("select", options, name="field", aria_label="field") if fields else None,
        tag("button", "Search", type="submit"),
        action="/search",
        role="search",
    )
    links = tag("nav", tag("a", "Samples", href="/", id="samples"), tag("a", "Fields", href="/fields", id="fields"))
    return tag("header", tag("a", "keyclip", href="/", class_="brand"), form, links, class_="bar")


def _keys() -> Markup:
    rows = [group(tag("dt", [tag("kbd", key) for key in keys.split()]), tag("dd", what)) for keys, what in KEYS]
    close = tag("form", tag("button", "Close"), method="dialog")
    return tag("dialog", tag("h2", "Keys"), tag("dl", rows), close, id="keys", aria_label="keys")


def later(where: str, words: str, meanwhile: str) -> Markup:
    """A slow part of a page, which a script asks for when the page is there; without scripts a link."""
    return tag("div", tag("a", words, href=where), data_load=where, data_meanwhile=meanwhile)


def grid(cards: Sequence[Card], field: str | None, with_images: bool) -> Markup:
    """Cards that can be walked through with j and k."""
    items = [_card(card, field, with_images) for card in cards]
    return tag("ol", [tag("li", item) for item in items], class_="grid" if with_images else "grid plain")


def _card(card: Card, field: str | None, with_images: bool) -> Markup:
    score = None
    if card.similarity is not None:
        score = tag("span", _share_bar(card.similarity), tag("b", f"{card.similarity:.3f}"), class_="score")
    picture = None
    if with_images:
        image = tag("img", src=link("/image", key=card.key), alt="", loading="lazy") if card.has_image else "no image"
        picture = tag("span", image, class_="picture")
    caption = tag("span", card.caption, class_="caption") if card.caption else None
    key = tag("span", card.key, class_="key")
    where = link("/sample", key=card.key, field=field)
    return tag("a", picture, score, caption, key, href=where, class_="card", data_item="")


def _share_bar(share: float) -> Markup:
    width = f"{100 * min(1.0, max(0.0, share)):.1f}"
    bars = [tag("rect", width=100, height=4, class_="track"), tag("rect", width=width, height=4, class_="fill")]
    return tag("svg", bars, viewBox="0 0 100 4", preserveAspectRatio="none", aria_hidden="true", class_="share")


def samples_page(
    fields: Mapping[str, FieldInfo], cards: Sequence[Card], number: int, num_pages: int, num_samples: int, images: bool
) -> str:
    """A page of samples in the order of the shards."""
    heading = tag("header", tag("h1", "Samples"), tag("p", f"{num_samples:,}", class_="note"), class_="heading")
    steps = [
        _step("Previous", number - 1, num_pages, "prev"),
        tag("span", f"page {number + 1:,} of {num_pages:,}", class_="note"),
        _step("Next", number + 1, num_pages, "next"),
    ]
    pager = tag("nav", steps, class_="pager", aria_label="pages") if num_pages > 1 else None
    empty = tag("p", "There is nothing here yet: no vectors, and no shards.", class_="empty") if not cards else None
    field = next(iter(fields), None)
    return page("Samples", list(fields), heading, empty, grid(cards, field, images), pager, field=field)


def _step(word: str, number: int, num_pages: int, rel: str) -> Markup:
    if 0 <= number < num_pages:
        return tag("a", word, href=link("/", page=number or None), rel=rel)
    return tag("span", word, class_="off")


def results_page(
    fields: Sequence[str],
    field: str,
    query: str,
    cards: Sequence[Card],
    *,
    key: str | None,
    more: int | None,
    images: bool,
) -> str:
    """Neighbours of a text. ``key``: the text is this sample's key, too; ``more``: so many can be asked for."""
    as_key = None
    if key is not None:
        where = link("/sample", key=key, field=field)
        as_key = tag("p", "There is a sample of this key: ", tag("a", key, href=where, class_="key"), class_="notice")
    heading = tag("h1", "Nearest to ", tag("q", query if len(query) <= 200 else query[:200] + "…"))
    note = tag("p", f"{len(cards)} of field {field}, by cosine", class_="note")
    where = link("/search", q=query, field=field, k=more)
    further = tag("nav", tag("a", "More", href=where), class_="pager") if more else None
    top = tag("header", heading, note, class_="heading")
    return page(query[:60], fields, as_key, top, grid(cards, field, images), further, field=field, query=query)


def sample_page(
    fields: Sequence[str], field: str | None, sample: Sample, neighbours: Sequence[Card] | None, images: bool
) -> str:
    """A sample: its image and captions, its vectors, its neighbours in one field; without them the page asks later."""
    where = link("/image", key=sample.key)
    picture = tag("a", tag("img", src=where, alt=f"image {sample.key}"), href=where, class_="whole")
    captions = [group(tag("dt", name), tag("dd", text)) for name, text in sample.captions]
    about = tag(
        "div",
        tag("h1", sample.key, class_="key"),
        tag("dl", captions, class_="captions") if captions else None,
        tag("ul", [tag("li", _state(state, sample.key, field)) for state in sample.fields], class_="states"),
        class_="about",
    )
    top = tag("section", picture if sample.has_image else None, about, class_="sample")
    near = None
    if field is not None:
        asked_later = later(link("/near", key=sample.key, field=field), "show them", "reading the vectors …")
        shown = asked_later if neighbours is None else grid(neighbours, field, images)
        near = tag("section", tag("h2", f"Nearest in {field}"), shown)
    return page(sample.key, fields, top, near, field=field)


def _state(state: FieldState, key: str, current: str | None) -> Markup:
    if not state.has_vector:
        return group(tag("span", state.field), tag("em", "no vector", class_="bad"))
    chosen = "true" if state.field == current else None
    where = tag("a", state.field, href=link("/sample", key=key, field=state.field), aria_current=chosen)
    if state.caption_changed:
        return group(where, tag("em", "made from another caption than today's", class_="bad"))
    return group(where, tag("em", "vector", class_="good"))


def fields_page(fields: Mapping[str, FieldInfo], coverage: Mapping[str, KeyCoverage | None]) -> str:
    """Every field: how it was made, what it covers, how its vectors are spread (asked for later)."""
    sections = [_field(name, info, coverage[name]) for name, info in fields.items()]
    nothing = None if fields else tag("p", "The store has no fields yet.", class_="empty")
    return page("Fields", list(fields), tag("h1", "Fields"), nothing, sections)


def _field(name: str, info: FieldInfo, coverage: KeyCoverage | None) -> Markup:
    size = f"{info.num_vectors:,} vectors of {info.dim} {info.dtype}, {gigabytes(info.num_bytes)}"
    spec = [
        group(tag("dt", setting.replace("_", " ")), tag("dd", _setting(setting, value)))
        for setting, value in info.spec.to_dict().items()
        if setting not in ("dim", "dtype")
    ]
    stats = later(link("/stats", field=name), "measure the vectors", "measuring the vectors …")
    top = (tag("h2", name), tag("p", size, class_="note"), _coverage(name, coverage))
    return tag("section", *top, stats, tag("dl", spec, class_="spec"), class_="field")


def _setting(name: str, value: object) -> str:
    if name == "template":
        return repr(value) if value else "the caption alone"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _coverage(name: str, coverage: KeyCoverage | None) -> Markup | None:
    if coverage is None:
        return None
    share = coverage.num_covered / coverage.num_samples
    words = f"{coverage.num_covered:,} of {coverage.num_samples:,} samples have a vector"
    beside = coverage.num_without_sample
    absent = [tag("a", key, href=link("/sample", key=key, field=name), class_="key") for key in coverage.uncovered]
    summary = tag("summary", "samples without a vector" + (", the first" if len(absent) == MAX_LISTED else ""))
    listed = tag("details", summary, tag("p", absent, class_="keys")) if absent else None
    return tag(
        "div",
        tag("p", _share_bar(share), tag("b", f"{100 * share:.4g} %"), class_="score wide"),
        tag("p", words, f"; {beside:,} vectors have no sample here" if beside else None),
        listed,
        class_="coverage",
    )


def error_page(fields: Sequence[str], message: str, *, field: str | None = None, query: str = "") -> str:
    """One sentence on what went wrong."""
    return page("Error", fields, tag("p", message, class_="error", role="alert"), field=field, query=query)

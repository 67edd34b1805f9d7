"""Statistics of a field as part of a page."""

from tools.browse.element import Markup, tag
from tools.browse.pages import link
from tools.query.histogram import Histogram
from tools.query.stats import Stats

WIDTH, HEIGHT, GROUND = 320, 130, 108


def figures(name: str, stats: Stats) -> Markup:
    """Figures, histograms and near-duplicates of a field."""
    near = stats.near_duplicates
    mean = "–" if stats.mean_cosine is None else f"{stats.mean_cosine:z.4f}"
    dead = ", ".join(map(str, stats.dead_dimensions[:12])) + (", …" if len(stats.dead_dimensions) > 12 else "")
    values = (
        ("length", f"{stats.norm_mean:.4g}", f"{stats.norm_min:.4g} to {stats.norm_max:.4g}"),
        ("mean cosine", mean, "of all pairs"),
        (
            "near-duplicates",
            f"{100 * near.num_found / near.num_drawn:.3g} %",
            f"at cosine {near.cosine:g}, {near.num_drawn:,} drawn",
        ),
        ("repeated captions", f"{stats.num_repeated_captions:,}", "equal to an earlier one"),
        ("dead dimensions", f"{len(stats.dead_dimensions):,}", dead or "none is constant"),
        ("zero vectors", f"{stats.num_zero:,}", "of length 0"),
    )
    tiles = [tag("li", tag("span", what), tag("b", value), tag("small", note)) for what, value, note in values]
    pairs = [
        tag("li", tag("a", key, href=link("/sample", key=key, field=name), class_="key"), " and ",
            tag("a", other, href=link("/sample", key=other, field=name), class_="key"), f" {cosine:.4f}")
        for key, other, cosine in near.examples
    ]  # fmt: skip
    drawn = [tag("figure", chart(h), tag("figcaption", h.name)) for h in (stats.norms, stats.cosines)]
    return tag(
        "div",
        tag("ul", tiles, class_="tiles"),
        tag("div", drawn, class_="charts"),
        tag("ul", pairs, class_="pairs") if pairs else None,
        class_="figures",
    )


def chart(histogram: Histogram) -> Markup:
    """Bars over an axis with three numbers."""
    most, step, labels = max(histogram.counts) or 1, WIDTH / len(histogram.counts), histogram.labels()
    bars = [
        tag("rect", tag("title", f"{labels[place]} to {labels[place + 1]}: {count:,}"),
            x=f"{place * step + 0.5:.1f}", y=f"{GROUND - _height(count, most):.1f}", width=f"{step - 1:.1f}",
            height=f"{_height(count, most):.1f}")
        for place, count in enumerate(histogram.counts)
    ]  # fmt: skip
    middle = len(histogram.counts) // 2
    places = ((0, 0, "start"), (middle, WIDTH / 2, "middle"), (-1, WIDTH, "end"))
    words = [tag("text", labels[edge], x=x, y=HEIGHT - 6, text_anchor=anchor) for edge, x, anchor in places]
    ground = tag("line", x1=0, x2=WIDTH, y1=GROUND, y2=GROUND)
    return tag("svg", bars, ground, words, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=histogram.name)


def _height(count: int, most: int) -> float:
    return max(1.0, (GROUND - 4) * count / most) if count else 0.0

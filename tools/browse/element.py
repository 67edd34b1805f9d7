"""HTML and SVG elements. Text is escaped wherever it enters, so that captions and names cannot become markup."""

import html
from collections.abc import Iterable


class Markup(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


Child = str | int | float | Iterable[str | None] | None


def tag(name: str, /, *children: Child, **attributes: str | int | float | None) -> Markup:
    """``tag("p", "a < b", class_="x")`` is ``<p class="x">a &lt; b</p>``.

    Children are text, which is escaped, or :class:`Markup`, or iterables of these; None is left out. In attribute names
    a trailing ``_`` is dropped and other underscores become hyphens; attributes that are None are left out.
    """
    pairs = (
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    opening = f"<{name}{''.join(pairs)}>"
    return Markup(opening) if name in _VOID else Markup(f"{opening}{group(*children)}</{name}>")


def group(*children: Child) -> Markup:
    """The children one after the other, escaped as :func:`tag` does."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, str | int | float):
            parts.append(html.escape(str(child), quote=False))
        elif child is not None:
            parts.append(group(*child))
    return Markup("".join(parts))


_VOID = frozenset({"br", "hr", "img", "meta", "link", "input"})

"""The pages as HTML, from the folder ``templates``; all text is escaped where it enters."""

from functools import cache
from typing import Any
from urllib.parse import urlencode

import jinja2

from tools.query.coverage import MAX_LISTED
from tools.query.printing import gigabytes


def page(template: str, *, fields: list[str], field: str | None = None, query: str = "", **values: Any) -> str:
    """A whole page.

    Args:
        fields: names of the fields to choose from in the search box.
        field: the one that is chosen.
        query: text in the search box.
        values: what the template shows.
    """
    return _templates().get_template(template).render(fields=fields, field=field, query=query, **values).strip()


def part(macro: str, *values: Any) -> str:
    """A part of a page, which the page's script asks for: a macro of ``parts.html``."""
    made: str = getattr(_templates().get_template("parts.html").module, macro)(*values)
    return made.strip()


def link(path: str, **parameters: str | int | None) -> str:
    """A path with its query; parameters that are None are left out."""
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"{path}?{urlencode(given, errors='surrogatepass')}" if given else path


@cache
def _templates() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("tools.browse"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(link=link, gigabytes=gigabytes, max_listed=MAX_LISTED, repr=repr)
    return made

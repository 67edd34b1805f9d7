"""Forms of a url or path in which two spellings of the same place are equal; each form leaves out more than the last.

=======  =============================================================  ===========================================
form     leaves out                                                     ``HTTPS://Live.Example.ORG:443/3/a%20b.JPG?x=1#y``
=======  =============================================================  ===========================================
url      scheme, ``www.``, case of the host, usual port, fragment,      ``live.example.org/3/a b.JPG?x=1``
         percent-encoding, doubled and trailing slashes
path     the host and the query too                                     ``3/a b.JPG``
name     folders, the extension and case too                            ``a b``
=======  =============================================================  ===========================================
"""

import re
from urllib.parse import unquote

_SCHEME = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//")
_HOST = re.compile(r"[\w-]+(?:\.[\w-]+)*\.[A-Za-z][\w-]*(?::\d+)?(?=/)")
_SLASHES = re.compile(r"/{2,}")

NAMES = ("url", "path", "name")
"""The forms, from the most exact to the least."""


def url_forms(text: str) -> tuple[str, str, str]:
    """The text in the forms of :data:`NAMES`; empty where nothing is left of it."""
    host, path, query = _split(text)
    name = path.rpartition("/")[2]
    return f"{host}/{path}{query}" if host else f"{path}{query}", path, (name.rpartition(".")[0] or name).casefold()


def _split(text: str) -> tuple[str, str, str]:
    """Host, path and query (with its question mark), normalised."""
    text = text.strip()
    scheme = _SCHEME.match(text)
    rest = text[scheme.end() :] if scheme else text
    host, _, tail = rest.partition("/")
    if not scheme and not _HOST.match(rest):
        host, tail = "", rest
    rest = tail.partition("#")[0]
    path, mark, query = rest.partition("?")
    if "%" in rest:
        path, query = unquote(path), unquote(query)
    if "//" in path:
        path = _SLASHES.sub("/", path)
    path = path.removeprefix("./").strip("/")
    host = host.rpartition("@")[2].lower().rstrip(".")
    host = host.removesuffix(":80").removesuffix(":443").removeprefix("www.")
    return host, path, mark + query if query else ""

"""Names of fields and blocks, and the names of their folders; a name may be any text."""

import string
import urllib.parse
from collections.abc import Sequence

import xxhash

from store.common.errors import InvalidKeysError

MAX_NAME_BYTES = 500
"""Longest field or block name in UTF-8; LMDB keys end at 511 bytes."""
_PLAIN = string.ascii_letters + string.digits + "-_."
_LONGEST_FOLDER = 180
"""A longer folder name is cut and ends with a hash; common filesystems allow 255 bytes."""


def encoded(text: str, what: str) -> bytes:
    """``text`` in UTF-8. Raises InvalidKeysError if it has half a surrogate pair."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidKeysError(f"a {what} cannot be written as UTF-8: {error}") from None


def check_name(name: str, what: str) -> str:
    """Return ``name`` if it can name a field or a block; ``what`` it names opens the error.

    Raises:
        InvalidKeysError: it is empty, too long, not text, or holds NUL.
    """
    if not isinstance(name, str) or not name or "\0" in name or len(encoded(name, f"{what} name")) > MAX_NAME_BYTES:
        raise InvalidKeysError(f"{what} name {name!r:.100} must be text of 1 to {MAX_NAME_BYTES} UTF-8 bytes")
    return name


def folder_name(name: str) -> str:
    """A folder name for ``name``: the name itself where that is safe, ``%XX`` for every other byte of its UTF-8.

    ``minilm/captions.0`` becomes ``minilm%2Fcaptions.0``. Different names get different folders.
    """
    quoted = urllib.parse.quote(name, safe=_PLAIN).replace("~", "%7E")
    if quoted.startswith(".") or quoted == "zarr.json":  # hidden files and Zarr's documents are in the same folder
        quoted = quoted.replace(".", "%2E", 1)
    if len(quoted) <= _LONGEST_FOLDER:
        return quoted
    return f"{quoted[:_LONGEST_FOLDER]}~{xxhash.xxh3_128_hexdigest(name.encode())}"


def shown_name(folder: str) -> str:
    """The name of a field or block that its folder shows: the whole name, unless it was cut."""
    return urllib.parse.unquote(folder)


def block_name(source: str, keys: Sequence[str]) -> str:
    """A block's name from its source and its keys: the same keys of the same source are never written twice."""
    return f"{source}-{xxhash.xxh3_64_hexdigest(chr(0).join(keys).encode('utf-8', 'surrogatepass'))}"

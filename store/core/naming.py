"""Names of blocks, and folder names for fields and blocks, whose own names may be any text."""

import string
import urllib.parse
from collections.abc import Sequence

import xxhash

_PLAIN = string.ascii_letters + string.digits + "-_."
_LONGEST = 180
"""Longer ones are cut and told apart by a hash; common filesystems end at 255 bytes."""


def folder_name(name: str) -> str:
    """A folder name for ``name``: the name itself where that is safe, ``%XX`` for every other byte of its UTF-8.

    ``minilm/captions.0`` becomes ``minilm%2Fcaptions.0``. Different names get different folders.
    """
    quoted = urllib.parse.quote(name, safe=_PLAIN).replace("~", "%7E")
    if quoted.startswith(".") or quoted == "zarr.json":  # hidden files and Zarr's documents stand beside the folders
        quoted = quoted.replace(".", "%2E", 1)
    if len(quoted) <= _LONGEST:
        return quoted
    return f"{quoted[:_LONGEST]}~{xxhash.xxh3_128_hexdigest(name.encode())}"


def shown_name(folder: str) -> str:
    """The name of a field or block as far as its folder tells it: the name itself, unless that was cut."""
    return urllib.parse.unquote(folder)


def block_name(source: str, keys: Sequence[str]) -> str:
    """A block's name by its source and its keys: the same keys of the same source are never written twice."""
    return f"{source}-{xxhash.xxh3_64_hexdigest(chr(0).join(keys).encode('utf-8', 'surrogatepass'))}"

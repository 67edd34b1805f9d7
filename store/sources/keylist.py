"""Key lists: UTF-8 text files with one sample key a line, as --keys of every command takes them."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from store.common.errors import ConfigError, InvalidKeysError
from store.common.files import require_regular

_SURROGATE = re.compile("[\ud800-\udfff]")


def is_listable(key: str) -> bool:
    """Whether a line can hold a sample key: it has no line break, NUL or half surrogate pair, and no blanks around it,
    which readers of lists cut off.
    """
    if key.isalnum() and key.isascii():
        return True
    return key == key.strip() and len(key.splitlines()) == 1 and "\0" not in key and not _SURROGATE.search(key)


def iter_key_list(file: Path) -> Iterator[str]:
    """The keys of a list, in its order; empty lines and a byte-order mark are passed over.

    Raises:
        ConfigError: there is no such file, it is a pipe or a device, or it is not UTF-8 text.
    """
    named = f"the key list {str(file)!r}"
    require_regular(file, named)
    try:
        with file.open(encoding="utf-8-sig") as lines:
            yield from (key for line in lines if (key := line.strip()))
    except OSError as error:
        raise ConfigError(f"{named} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{named} cannot be read: it is not UTF-8 text; write one sample key a line") from error


def read_keys(file: Path) -> frozenset[str]:
    """The keys of a list. Raises ConfigError as :func:`iter_key_list`, or if there is none."""
    if not (keys := frozenset(iter_key_list(file))):
        raise ConfigError(f"the key list {str(file)!r} is empty; write one sample key a line")
    return keys


def read_key_list(file: Path) -> NDArray[np.bytes_]:
    """The keys of a list: (n,) UTF-8 byte strings, sorted and unique. Raises as :func:`read_keys`."""
    return np.sort(np.array([key.encode() for key in read_keys(file)], dtype=np.bytes_))


def line_of(key: str) -> str:
    """The key, if a list can hold it. Raises InvalidKeysError otherwise; see :func:`is_listable`."""
    if not is_listable(key):
        raise InvalidKeysError(f"sample key {key!r:.100} cannot stand in a list of one key a line; use --json")
    return key

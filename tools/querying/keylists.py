"""Key lists: text files with one sample key a line, as ``--keys`` of embed, train, eval and export takes them."""

from collections.abc import Iterable
from pathlib import Path

from store.errors import ConfigError, InvalidKeysError
from store.files import write_file


def checked_line(key: str) -> str:
    """The key, if it can stand on a line of its own.

    Raises:
        InvalidKeysError: it holds a line break, or begins or ends with blanks, which readers of lists cut off.
    """
    if key.strip() != key or len(key.splitlines()) != 1:
        raise InvalidKeysError(f"sample key {key!r:.100} cannot stand in a list of one key a line; use --json")
    return key

"""Key lists: text files with one sample key a line, as ``--keys`` of embed, train, eval and export takes them."""

from collections.abc import Iterable
from pathlib import Path

from store.errors import ConfigError, InvalidKeysError


def line_of(key: str) -> str:
    """The key, if it can stand on a line of its own.

    Raises:
        InvalidKeysError: it holds a line break, or begins or ends with blanks, which readers of lists cut off.
    """
    if key.strip() != key or len(key.splitlines()) != 1:
        raise InvalidKeysError(f"sample key {key!r:.100} cannot stand in a list of one key a line; use --json")
    return key


def write_key_list(file: Path, keys: Iterable[str]) -> None:
    """Write a list; an older one at this place is replaced when the new one is complete.

    Raises:
        ConfigError: the file cannot be written.
        InvalidKeysError: a key cannot stand in a list.
    """
    unfinished = file.with_name(f"{file.name}.part")
    try:
        with unfinished.open("w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(f"{line_of(key)}\n" for key in keys)
        unfinished.replace(file)
    except OSError as error:
        raise ConfigError(f"the key list {str(file)!r} cannot be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)

"""Data from files, checked by type where it enters; what comes back has exactly the type asked for.

A type is anything that pydantic understands: a TypedDict (of typing_extensions, until Python 3.12), a dataclass,
``dict[str, list[int]]``, a union. Checks are strict: ``"1"`` is no number and ``1`` is no text.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from store.common.errors import ConfigError, KeyclipError
from store.common.files import require_regular

T = TypeVar("T")


class InvalidDataError(KeyclipError, ValueError):
    """A file holds something else than is expected of it."""


def parse_json(data: bytes | str, expected: type[T], what: str, remedy: str = "") -> T:
    """The value of a json text.

    Args:
        what: names the text in an error, such as ``the record 'runs/a/config.json'``.
        remedy: a sentence that ends the error.

    Raises:
        InvalidDataError: it is not json, too deeply nested, or of another type; the message names the first place.
    """
    from pydantic import ValidationError

    try:
        return cast(T, _adapter(expected).validate_json(data, strict=True))
    except ValidationError as error:
        raise InvalidDataError(_sentence(error, what, remedy)) from error


def check(value: object, expected: type[T], what: str, remedy: str = "") -> T:
    """``value``, as ``expected``; the same promises as ``parse_json``, for values that are parsed already (YAML)."""
    from pydantic import ValidationError

    try:
        return cast(T, _adapter(expected).validate_python(value, strict=True))
    except ValidationError as error:
        raise InvalidDataError(_sentence(error, what, remedy)) from error
    except RecursionError as error:
        raise InvalidDataError(_end(f"{what} is nested too deeply", remedy)) from error


def read_json(file: Path, expected: type[T], what: str, remedy: str = "") -> T:
    """``parse_json`` of a file; ``what`` is followed by the file's path in errors.

    Raises:
        InvalidDataError: the file cannot be read, or as ``parse_json``.
    """
    named = f"{what} {str(file)!r}"
    try:
        require_regular(file, named)
        data = file.read_bytes()
    except ConfigError as error:
        raise InvalidDataError(_end(str(error), remedy)) from error
    except OSError as error:
        raise InvalidDataError(_end(f"{named} cannot be read: {error.strerror}", remedy)) from error
    return parse_json(data, expected, named, remedy)


_adapter: Callable[[Any], Any] = cache(lambda expected: _type_adapter(expected))


def _type_adapter(expected: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(expected)


def _sentence(error: Any, what: str, remedy: str) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"][:1].lower() + first["msg"][1:]
    return _end(f"{what} is not as expected: {f'at {where!r}, ' if where else ''}{message}", remedy)


def _end(sentence: str, remedy: str) -> str:
    return f"{sentence}; {remedy}" if remedy else sentence

"""Data from files, checked by type where it enters; what comes back has exactly the type asked for.

A type is anything that pydantic understands: a TypedDict (of typing_extensions, until Python 3.12), a dataclass,
``dict[str, list[int]]``, a union. Checks are strict: ``"1"`` is no number and ``1`` is no text.
"""

import json
from collections.abc import Callable, Hashable
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
    return cast(T, _validated(_adapter(cast(Hashable, expected)).validate_json, data, what, remedy))


def check(value: object, expected: type[T], what: str, remedy: str = "") -> T:
    """``value`` as ``expected``; as :func:`parse_json`, for a value that is parsed already (YAML)."""
    return cast(T, _validated(_adapter(cast(Hashable, expected)).validate_python, value, what, remedy))


def read_json(file: Path, expected: type[T], what: str, remedy: str = "") -> T:
    """:func:`parse_json` of a file; ``what`` is followed by the file's path in errors.

    Raises:
        InvalidDataError: the file cannot be read, or as :func:`parse_json`.
    """
    named = f"{what} {str(file)!r}"
    try:
        require_regular(file, named)
        data = file.read_bytes()
    except ConfigError as error:
        raise _invalid(str(error), remedy) from error
    except OSError as error:
        raise _invalid(f"{named} cannot be read: {error.strerror}", remedy) from error
    return parse_json(data, expected, named, remedy)


def json_object(text: bytes | str, what: str) -> dict[str, Any]:
    """The json object of a text, its values unchecked. Raises: ValueError: it is none; begins with ``what``."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} is not json: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not a json object")
    return value


@cache
def _adapter(expected: Hashable) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(cast(Any, expected))


def _validated(validate: Callable[..., Any], value: object, what: str, remedy: str) -> Any:
    from pydantic import ValidationError

    try:
        return validate(value, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        message = f"{f'at {where!r}, ' if where else ''}{first['msg'][:1].lower()}{first['msg'][1:]}"
        raise _invalid(f"{what} is not as expected: {message}", remedy) from error
    except RecursionError as error:
        raise _invalid(f"{what} is nested too deeply", remedy) from error


def _invalid(sentence: str, remedy: str) -> InvalidDataError:
    return InvalidDataError(f"{sentence}; {remedy}" if remedy else sentence)

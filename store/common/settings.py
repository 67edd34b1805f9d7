"""Settings of a command: the types that a config's fields may have, and values checked against them.

A config is a frozen keyword-only dataclass. A field may hold another dataclass, a part: its settings are settings of
the whole config (``--learning-rate``), and a file may nest them (``optim: {learning_rate: 1e-5}``).
``Annotated[int, Interval(ge=1, le=64)]`` bounds a number (see the names below). An ``int`` without bounds of its own is
never negative and fits in 64 bits; a ``float`` is always finite.
"""

import dataclasses
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, cast

from annotated_types import Interval

from store.common.errors import ConfigError

T = TypeVar("T")
C = TypeVar("C")

_SURROGATE = re.compile("[\ud800-\udfff]")
_NUMBER = re.compile(r"-?[0-9.]+")
_POSITIONAL = "positional"
Positional = Annotated[T, _POSITIONAL]
"""A setting that is given by its place, without a flag."""

Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]
Count = Annotated[int, Interval(ge=1, le=10**9)]
"""A number of samples, steps or rows."""
AtLeastOne = Annotated[int, Interval(ge=1, le=2**63 - 1)]
"""A largest number; a larger one than there are means all."""
Few = Annotated[int, Interval(ge=1, le=100_000)]
"""A number of things that take time or memory each: widths, rounds, batches."""
Rounds = Annotated[int, Interval(ge=0, le=100_000)]
Layers = Annotated[int, Interval(ge=0, le=1000)]
"""Layers of a network, and factors of their width."""
Workers = Annotated[int, Interval(ge=0, le=1024)]
"""A number of processes or threads."""
Port = Annotated[int, Interval(ge=0, le=65_535)]
"""A TCP port; 0 is any that is free."""
Share = Annotated[float, Interval(ge=0, le=1)]
PixelSize = Annotated[int, Interval(ge=1, le=8192)]
Padding = Annotated[int, Interval(ge=0, le=1000)]
Seconds = Annotated[int, Interval(ge=0, le=86_400)]
Milliseconds = Annotated[float, Interval(ge=0, le=60_000)]
Cosine = Annotated[float, Interval(ge=-1, le=1)]
AboveZero = Annotated[float, Interval(gt=0)]


@dataclass(frozen=True)
class Alias:
    """A further flag of a setting, such as ``-n``: ``Annotated[int, Alias("-n")]``."""

    flag: str


@dataclass(frozen=True)
class Prefix:
    """How the settings of a part begin: ``lora: Annotated[Lora, Prefix("lora_")]`` makes its ``rank`` ``lora_rank``."""

    text: str


@dataclass(frozen=True)
class Setting:
    """One setting of a command.

    Attributes:
        name: the field's name, after the prefix of its part.
        hint: its type, annotations included.
        default: its default, MISSING where it must be given.
        owner: the dataclass that declares it, or a subclass.
        field: its name there.
    """

    name: str
    hint: Any
    default: Any
    owner: type[Any]
    field: str

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    @property
    def aliases(self) -> list[str]:
        """Its further flags."""
        return [mark.flag for mark in getattr(self.hint, "__metadata__", ()) if isinstance(mark, Alias)]

    @property
    def is_positional(self) -> bool:
        return _POSITIONAL in getattr(self.hint, "__metadata__", ())

    @property
    def types(self) -> tuple[Any, ...]:
        """The type, or the types of a union."""
        bare = _bare(self.hint)
        is_union = typing.get_origin(bare) in (Union, types.UnionType)
        return tuple(map(_bare, typing.get_args(bare))) if is_union else (bare,)

    @property
    def is_switch(self) -> bool:
        return bool in self.types

    @property
    def is_many(self) -> bool:
        """Whether it takes several values."""
        return any(typing.get_origin(kind) is tuple for kind in self.types)

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that it takes, if they are few."""
        literals = (part for part in _parts(self.hint) if typing.get_origin(part) is typing.Literal)
        return next(map(typing.get_args, literals), ())

    def from_words(self, words: list[str]) -> Any:
        """The value that was typed. Raises ConfigError if it does not fit the setting."""
        if words == ["None"] and type(None) in self.types:
            return None
        name = self.name if self.is_positional else self.flag
        return self._checked(words if self.is_many else words[0], f"{name} is", strict=False)

    def from_value(self, value: Any, source: str) -> Any:
        """The value that a file or a recipe gives. Raises ConfigError, naming ``source``, if it is of another type."""
        if self.is_many and not isinstance(value, list | tuple | types.NoneType):
            value = [value]
        return self._checked(value, f"{source} sets {self.name} to", strict=True)

    def _checked(self, given: Any, what: str, strict: bool) -> Any:
        from pydantic import ValidationError

        adapter = _adapter(self.hint)
        try:
            if strict:
                text_wanted = {str, Path} & {_bare(self.hint), *map(_bare, typing.get_args(_bare(self.hint)))}
                text = json.dumps(_as_text(given) if text_wanted else given, default=str)
                value = adapter.validate_json(text, strict=True)
            else:
                value = adapter.validate_python(given)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            wrong = first["input"] if first["type"] != "json_invalid" else given
            raise ConfigError(f"{what} {_shown(wrong)}; expected {_expected(first)}") from None
        except (TypeError, RecursionError, ValueError):
            raise ConfigError(f"{what} {_shown(given)}; expected a plain value") from None
        for leaf, text in zip(_leaves(value), _leaves(given), strict=False):
            if expected := self._wrong(leaf, text):
                raise ConfigError(f"{what} {_shown(text)}; expected {expected}")
        return value

    def _wrong(self, leaf: Any, text: Any) -> str | None:
        """What is expected instead of a value that has the right type, but makes no sense."""
        bounded = any(isinstance(part, Interval) for part in _parts(self.hint))
        if type(leaf) is int and not bounded and not 0 <= leaf < 2**63:
            return "a whole number from 0 to 2**63 - 1"
        if isinstance(leaf, Path) and text == "":
            return "a path"
        if isinstance(leaf, str | Path) and "\0" in str(leaf):
            return "text without NUL characters"
        if isinstance(leaf, Path) and _SURROGATE.search(str(leaf)):
            return "a path in UTF-8"
        return None


def settings_of(config_type: type[Any], prefix: str = "") -> dict[str, Setting]:
    """The settings of a config dataclass and of its parts by name, in order."""
    found: dict[str, Setting] = {}
    for field, hint, part in _fields(config_type):
        name = prefix + field.name
        if part is not None:
            found |= settings_of(part, prefix + _prefix(hint))
        elif field.init:
            default = field.default if field.default_factory is MISSING else field.default_factory()
            found[name] = Setting(name, hint, default, config_type, field.name)
    return found


def flattened(values: Mapping[str, Any], config_type: type[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values of a mapping, in which the settings of a part may be nested under the part's name."""
    parts = _nested(config_type, prefix)
    for name, value in values.items():
        if name in parts and isinstance(value, Mapping):
            yield from flattened(value, *parts[name])
        else:
            yield f"{prefix}{name}", value


def build(config_type: type[C], values: Mapping[str, Any]) -> C:
    """The config and its parts from checked values by name. Raises ConfigError as the config's own checks say."""
    if unknown := values.keys() - settings_of(config_type).keys():
        raise TypeError(f"{config_type.__name__} has no settings {sorted(unknown)}")
    return cast(C, _build(config_type, values, ""))


def _build(config_type: type[Any], values: Mapping[str, Any], prefix: str) -> Any:
    arguments: dict[str, Any] = {}
    for field, hint, part in _fields(config_type):
        if part is not None:
            arguments[field.name] = _build(part, values, prefix + _prefix(hint))
        elif field.init and prefix + field.name in values:
            arguments[field.name] = values[prefix + field.name]
    return config_type(**arguments)


def as_flat(config: Any) -> dict[str, Any]:
    """The values of a config and its parts by the names of the settings, derived ones (``init=False``) among them."""
    values: dict[str, Any] = {}
    for field, hint, part in _fields(type(config)):
        value = getattr(config, field.name)
        inner = {field.name: value} if part is None else as_flat(value)
        values |= {f"{_prefix(hint)}{name}": each for name, each in inner.items()}
    return values


def derived_names(config_type: type[Any]) -> set[str]:
    """The names of the values that a config or a part derives from its settings."""
    fields = list(_fields(config_type))
    own = {field.name for field, _, _ in fields if not field.init}
    return own.union(*(derived_names(part) for _, _, part in fields if part is not None))


def _fields(config_type: type[Any]) -> Iterator[tuple[dataclasses.Field[Any], Any, type[Any] | None]]:
    """The fields of a config, each with its type and, where it holds a part, the part's dataclass."""
    hints = typing.get_type_hints(config_type, include_extras=True)
    for field in dataclasses.fields(config_type):
        bare = _bare(hints[field.name])
        is_part = field.init and dataclasses.is_dataclass(bare)
        yield field, hints[field.name], bare if is_part else None


def _nested(config_type: type[Any], prefix: str) -> dict[str, tuple[type[Any], str]]:
    """The dataclass and the prefix of every part by name, parts of parts among them."""
    found: dict[str, tuple[type[Any], str]] = {}
    for field, hint, part in _fields(config_type):
        if part is not None:
            found |= _nested(part, prefix + _prefix(hint)) | {field.name: (part, prefix + _prefix(hint))}
    return found


def _prefix(hint: Any) -> str:
    return next((mark.text for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Prefix)), "")


@cache
def _adapter(hint: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(hint, config=ConfigDict(allow_inf_nan=False))


def _bare(hint: Any) -> Any:
    """A type without its annotation."""
    return _bare(typing.get_args(hint)[0]) if typing.get_origin(hint) is Annotated else hint


def _parts(hint: Any) -> Iterator[Any]:
    """A type, and every type and annotation within it."""
    yield hint
    for part in typing.get_args(hint):
        yield from _parts(part)


def _as_text(value: Any) -> Any:
    """Whole numbers as text, which loses nothing: YAML writes them as json does. A list of keys may hold 100000012."""
    if isinstance(value, list | tuple):
        return [_as_text(item) for item in value]
    return str(value) if type(value) is int else value


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _shown(value: Any) -> str:
    try:
        plain = type(value) in (int, float, bool) or (isinstance(value, str) and _NUMBER.fullmatch(value))
        text = str(value) if plain else repr(value)
    except ValueError:  # more digits than Python writes
        text = "a huge number"
    return text if len(text) <= 80 else f"{text[:77]}..."


_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "True or False",
    "string": "text (in quotes)",
    "path": "a path",
    "tuple": "a list",
    "json": "UTF-8 text without NUL characters",
}
_BOUNDS = {"ge": "at least {}", "gt": "a number above {}", "le": "at most {}", "lt": "a number below {}"}


def _expected(error: Mapping[str, Any]) -> str:
    context = error.get("ctx", {})
    for bound, words in _BOUNDS.items():
        if bound in context:
            return words.format(context[bound])
    if error["type"] == "literal_error":
        return str(context["expected"])
    message = str(error["msg"])
    return _EXPECTED.get(error["type"].split("_")[0], message[:1].lower() + message[1:])

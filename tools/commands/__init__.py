"""The commands of ``keyclip``: settings, a call of the library, and what is printed."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Command(NamedTuple):
    """Settings and function of a command that shares its module with others; see :mod:`tools.__main__`."""

    Config: type[Any]
    run: Callable[[Any], int | None]

"""Shards that run a shell command: refused in data that people pass on, unless the user allows them."""

import os
from collections.abc import Mapping

from store.common.errors import ConfigError

ALLOW_PIPE = "KEYCLIP_ALLOW_PIPE"
"""Environment variable: 1 where lists and settings files may name ``pipe:`` shards; worker processes inherit it."""


def refuse_pipes(value: object, where: str) -> None:
    """Raises ConfigError, naming ``where``, for a ``pipe:`` shard from a file that the user has not allowed.

    ``value``: a text, or a list or mapping with texts in it.
    """
    if isinstance(value, str) and "pipe:" in value and os.environ.get(ALLOW_PIPE) != "1":
        raise ConfigError(
            f"{where} names {value!r:.80}, which would run a shell command; give --allow-pipe if you trust the file"
        )
    if isinstance(value, Mapping):
        value = list(value.values())
    for part in value if isinstance(value, list | tuple) else ():
        refuse_pipes(part, where)

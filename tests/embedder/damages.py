"""Ways in which the files of a model's folder are damaged: cut, overwritten, edited."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WRONG_VALUES: list[Any] = [None, "x", -1, 0, 0.5, True, [], {}, [[]], 10**9, "\ud800", {"a": None}]
WRONG_FILES = {
    "empty": b"",
    "blank": b" \n",
    "binary": bytes(range(256)),
    "null": b"null",
    "list": b"[]",
    "text": b'"text"',
    "object": b"{}",
    "deep": b"[" * 20_000,
    "deep-object": b'{"a":' * 20_000,
    "utf-16": '{"model_type": "llama"}'.encode("utf-16"),
}


def damages(file: Path, draw: random.Random, count: int) -> Iterator[tuple[str, bytes]]:
    """``count`` damaged versions of a file, each with a name: (what was done, its bytes)."""
    whole = file.read_bytes()
    kinds = [*WRONG_FILES, "cut", "flipped"] + (["edited"] * 12 if file.suffix == ".json" else ["long-header"] * 2)
    for _ in range(count):
        kind = draw.choice(kinds)
        if kind == "cut":
            size = draw.randrange(len(whole))
            yield f"cut to {size} bytes", whole[:size]
        elif kind == "flipped":
            place = draw.randrange(min(len(whole), 4096))
            yield f"byte {place} flipped", whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
        elif kind == "long-header":
            size = draw.choice([2**63, 2**40, len(whole), 7])
            yield f"header of {size} bytes", size.to_bytes(8, "little") + whole[8:]
        elif kind == "edited":
            yield _edited(json.loads(whole), draw)
        else:
            yield kind, WRONG_FILES[kind]


def _edited(values: Any, draw: random.Random) -> tuple[str, bytes]:
    """One value somewhere in a json document is taken out, or replaced by one of another kind."""
    place, path = values, ""
    while True:
        name = draw.choice(list(place) if isinstance(place, dict) else range(len(place)))
        path += f"/{name}"
        inner = place[name]
        if not isinstance(inner, dict | list) or not inner or draw.random() < 0.3:
            break
        place = inner
    if draw.random() < 0.2:
        del place[name]
        return f"without {path}", json.dumps(values).encode()
    value = draw.choice(WRONG_VALUES)
    place[name] = value
    return f"{path} is {value!r}", json.dumps(values).encode()

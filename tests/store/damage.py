"""Seeded damage to stores: bytes of LMDB files, and edited json documents."""

import json
import random
import shutil
import struct

import store
from store.index.hashing import checksum
from tests.store.examples import make_block, make_spec

PAGE = 4096


def make_store(path, backend, blocks=3):
    """A store with the fields ``f``, to be damaged, and ``sound``."""
    made = store.create(path, backend=backend)
    for name in ("f", "sound"):
        writer = made.writer(name, make_spec())
        for i in range(blocks if name == "f" else 1):
            writer.commit(f"b{i}", *make_block(f"b{i}", 4))
    return path


def damage_file(file, rng):
    """Damage a data.mdb in one way; returns a description."""
    data = bytearray(file.read_bytes())
    pages = len(data) // PAGE
    way = rng.choice(
        ["byte", "byte", "bytes", "header", "number", "zero", "swap", "meta", "cut", "noise", "tail", "empty"]
    )
    if way in ("byte", "bytes"):
        for _ in range(1 if way == "byte" else rng.randint(2, 40)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif way == "header":  # where LMDB's own numbers are
        at = rng.randrange(pages) * PAGE + rng.randrange(64)
        data[at] = rng.randrange(256)
    elif way == "number":
        at = rng.randrange(pages) * PAGE + 2 * rng.randrange(PAGE // 2 - 4)
        data[at : at + 8] = struct.pack("<Q", rng.choice([0, 1, 2, pages, 2**16 - 1, 2**31, 2**40, 2**63, 2**64 - 1]))
    elif way == "zero":
        at = rng.randrange(pages) * PAGE
        data[at : at + PAGE] = bytes(PAGE)
    elif way == "swap":
        a, b = (rng.randrange(pages) * PAGE for _ in range(2))
        data[a : a + PAGE], data[b : b + PAGE] = data[b : b + PAGE], data[a : a + PAGE]
    elif way == "meta":
        for page in rng.choice([(0,), (1,), (0, 1)]):
            data[page * PAGE : page * PAGE + PAGE] = rng.choice([bytes(PAGE), rng.randbytes(PAGE)])
    elif way == "cut":
        del data[rng.randrange(len(data)) :]
    elif way == "noise":
        at = rng.randrange(pages) * PAGE
        data[at : at + PAGE] = rng.randbytes(PAGE)
    elif way == "tail":
        data += rng.randbytes(rng.randint(1, 3 * PAGE))
    else:
        data.clear()
    file.write_bytes(data)
    return way


_VALUES = [
    None,
    True,
    0,
    -1,
    1.5,
    10**400,
    "",
    "x" * 300,
    "\ud800",
    "\0",
    [],
    {},
    [[]],
    {"": None},
    "keyclip-lmdb",
    2**70,
]


def damage_document(file, rng, seal=False):
    """Edit a json document in one way: names removed, renamed, values of other types, nested deeply, cut, no json.

    Args:
        seal: give our attributes a checksum that fits again, as a person could who knows the format.
    """
    text = file.read_text()
    way = rng.choice(["remove", "retype", "retype", "rename", "nest", "surrogate", "cut", "noise", "deep", "list"])
    if way in ("remove", "retype", "rename", "nest", "surrogate", "list"):
        document = json.loads(text)
        where, name = rng.choice(list(_places(document)))
        if way == "remove":
            del where[name]
        elif way == "rename" and isinstance(where, dict):
            where[rng.choice(["", "x", "\ud800", "format"])] = where.pop(name)
        elif way == "nest":
            where[name] = {"it": [where[name]]}
        elif way == "list":
            where[name] = [where[name]] * rng.choice([0, 2, 1000])
        elif way == "surrogate":
            where[name] = "\udcff"
        else:
            where[name] = rng.choice(_VALUES)
        if seal:
            _seal(document)
        text = json.dumps(document)
    elif way == "cut":
        text = text[: rng.randrange(len(text))]
    elif way == "deep":
        text = rng.choice(["[" * 100_000, '{"attributes":' * 50_000, "[" * 5000 + "]" * 5000])
    else:
        text = rng.choice(["", "null", "[]", "3", '"keyclip"', "NaN", "\ufeff{}", "{" + "\0" * 9, text * 2])
    file.write_text(text)
    return way


def _places(value):
    """Every name or position in nested json, with what holds it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in list(items):
        yield value, name
        yield from _places(inner)


def _seal(document):
    ours = document.get("attributes", {}).get("keyclip", {}) if isinstance(document.get("attributes"), dict) else {}
    if isinstance(ours, dict) and "checksum" in ours:
        values = {name: value for name, value in ours.items() if name != "checksum"}
        body = json.dumps(values, sort_keys=True, indent=1).encode()
        ours["checksum"] = f"{checksum(body):016x}"


def cases(template, tmp_path, seed, count):
    """Fresh copies of a store, each with a generator of random numbers of its own."""
    for number in range(count):
        path = tmp_path / "case.store"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(template, path)
        yield path, random.Random(f"{seed}/{number}")

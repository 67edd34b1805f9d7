"""Fields of a store on their way out: which vectors, for which keys, in which order."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import store
from store.common.errors import ConfigError, MissingKeysError
from store.core.batch import join_keys
from store.sources.keylist import read_keys
from tools.interop.config import ExportConfig, Missing
from tools.interop.records import digest
from tools.interop.report import ExportReport

READ_ROWS = 512
"""Vectors read at a time."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Fields of one store, each under the name that it has in the export."""

    path: str
    """The store."""
    fields: dict[str, store.Field]
    missing: Missing

    @property
    def made_from(self) -> Any:
        """What the exported bytes depend on, besides keys and layout."""
        return {name: [field.name, field.spec.to_dict()] for name, field in self.fields.items()}

    def covered(self, keys: Sequence[str], where: str) -> NDArray[np.bool_]:
        """Which keys have a vector in every field: (n,) bool.

        Raises:
            MissingKeysError: some have not, and they shall not be left out.
        """
        covered = np.ones(len(keys), bool)
        for field in self.fields.values():
            found = field.contains(keys)
            if self.missing == "error" and not found.all():
                raise MissingKeysError(
                    f"{int((~found).sum())} of {len(keys)} keys of {where} have no vector in field {field.name!r}, "
                    f"first {keys[int((~found).argmax())]!r}; embed their captions, or leave them out by --missing skip"
                )
            covered &= found
        return covered

    def vectors(self, keys: Sequence[str], dtype: str) -> Iterator[tuple[Sequence[str], list[NDArray[Any]]]]:
        """Some keys at a time, and for each field their vectors (n, dim)."""
        for start in range(0, len(keys), READ_ROWS):
            some = keys[start : start + READ_ROWS]
            yield some, [field.get(some, dtype=dtype) for field in self.fields.values()]


def select(path: str, fields: Sequence[str], missing: Missing) -> Selection:
    """Fields given as FIELD or FIELD=NAME; by default a field is named after its caption field.

    Raises:
        ConfigError: no field is named, or two get the same name, upper and lower case being the same to webdataset.
        StoreNotFoundError, FieldNotFoundError: there is no such store or field.
    """
    opened = store.open(path)
    if not fields:
        raise ConfigError(
            f"name the fields to export with --fields; {path!r} has {', '.join(map(repr, opened.survey()))}"
        )
    there = opened.fields()
    selected: dict[str, store.Field] = {}
    for argument in fields:
        name, _, renamed = argument.rpartition("=") if argument not in there and "=" in argument else (argument, "", "")
        field = opened.field(name)
        exported = renamed or field.spec.caption_field.removeprefix(".")
        if exported.lower() in (other.lower() for other in selected):
            raise ConfigError(
                f"two fields would be named {exported!r} in the export (upper and lower case are the same to "
                f"webdataset); rename one: --fields {field.name}=ANOTHER_NAME"
            )
        selected[exported] = field
    return Selection(path, selected, missing)


def exported_dtype(selection: Selection, dtype: str | None) -> np.dtype[Any]:
    """float16 or float32: as asked, else float16 where all fields are stored so."""
    stored = {field.spec.dtype for field in selection.fields.values()}
    return np.dtype(dtype or ("float16" if stored == {"float16"} else "float32"))


def iter_keys(field: store.Field) -> Iterator[str]:
    """A field's keys in the store's order, a block in memory at a time."""
    for block in field.blocks():
        with field.snapshot() as snapshot:
            keys = snapshot.block_keys(block)
        yield from keys


@dataclass(frozen=True, slots=True)
class KeyPart:
    """Consecutive keys that go into one file, or several files of one number."""

    number: int
    keys: list[str]

    @property
    def made_from(self) -> str:
        """Tells these keys in this order from others."""
        return digest(join_keys(self.keys))


def key_parts(
    selection: Selection, config: ExportConfig, size: int, report: ExportReport, keys: Iterable[str] | None = None
) -> Iterator[KeyPart]:
    """The keys of the first field (or those given) that are to be exported, ``size`` at a time; counts the others.

    Raises:
        MissingKeysError: see :meth:`Selection.covered`.
    """
    listed = read_keys(config.keys) if config.keys else None
    first = next(iter(selection.fields.values()))
    wanted = (key for key in (iter_keys(first) if keys is None else keys) if listed is None or key in listed)
    number, rest = 0, list[str]()
    while True:
        chunk = list(islice(wanted, size))
        covered = selection.covered(chunk, f"field {first.name!r}")
        report.left_out += len(chunk) - int(covered.sum())
        rest += [chunk[row] for row in np.flatnonzero(covered).tolist()]
        while len(rest) >= size or (rest and not chunk):
            yield KeyPart(number, rest[:size])
            number, rest = number + 1, rest[size:]
        if not chunk:
            return


def bar(config: ExportConfig, total: int | None, unit: str) -> "tqdm[Any]":
    """A progress bar on stderr."""
    return tqdm(total=total, unit=unit, desc="exporting", disable=config.json or not sys.stderr.isatty())

"""One export under way: which vectors of which fields, for which keys, in which order."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import store
from store.common.errors import ConfigError, MissingKeysError
from store.sources.keylist import read_keys
from tools.interop.config import ExportConfig, FileDtype
from tools.interop.records import Output, unwritten
from tools.interop.report import ExportReport

READ_ROWS = 512
"""Vectors read at a time."""


class Export:
    """Fields of a store, each under the name that it has in the files, and what was done so far.

    Use as a context manager: it shows the progress on stderr and times the work.

    Raises:
        ConfigError: no field is named, or two get the same name, upper and lower case being the same to webdataset.
        StoreNotFoundError, FieldNotFoundError: there is no such store or field.
    """

    def __init__(
        self,
        config: ExportConfig,
        fields: Sequence[str],
        dtype: FileDtype = None,
        inputs: Iterable[Path | str | None] = (),
    ) -> None:
        """``fields``: FIELD or FIELD=NAME; ``inputs``: further files that are read, which are never replaced."""
        self.config = config
        self.fields = _select(config.store, fields)
        self.dtype = file_dtype(self.fields, dtype)
        self.made_from = {name: [field.name, field.spec.to_dict()] for name, field in self.fields.items()}
        """What the exported bytes depend on, besides keys and layout."""
        self.listed = read_keys(config.keys) if config.keys else None
        self.report = ExportReport(str(config.output))
        self._inputs = [config.store, config.keys, *inputs]
        self._started = time.perf_counter()
        self._bar = tqdm(unit=" keys", desc="exporting", disable=config.json or not sys.stderr.isatty())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()
        self.report.seconds = time.perf_counter() - self._started

    def covered(self, keys: Sequence[str], where: str) -> list[int]:
        """Positions of the keys that have a vector in every field; counts the others.

        Raises:
            MissingKeysError: some have not, and ``--missing`` is ``error``.
        """
        covered = np.ones(len(keys), bool)
        for field in self.fields.values():
            found = field.contains(keys)
            if self.config.missing == "error" and not found.all():
                raise MissingKeysError(
                    f"{int((~found).sum())} of {len(keys)} keys of {where} have no vector in field {field.name!r}, "
                    f"first {keys[int((~found).argmax())]!r}; embed their captions, or leave them out by --missing skip"
                )
            covered &= found
        self.report.left_out += len(keys) - int(covered.sum())
        return np.flatnonzero(covered).tolist()

    def key_parts(self, size: int = 100_000, keys: Iterable[str] | None = None) -> Iterator[list[str]]:
        """The keys of the first field, in the store's order, or ``keys``: those to be exported, ``size`` at a time.

        Raises:
            MissingKeysError: see :meth:`covered`.
        """
        first = next(iter(self.fields.values()))
        all_keys = iter_keys(first) if keys is None else keys
        wanted = (key for key in all_keys if self.listed is None or key in self.listed)
        rest = list[str]()
        while chunk := list(islice(wanted, size)):
            rest += [chunk[row] for row in self.covered(chunk, f"field {first.name!r}")]
            if len(rest) >= size:
                yield rest[:size]
                rest = rest[size:]
        if rest:
            yield rest

    def vectors(self, keys: Sequence[str]) -> Iterator[tuple[Sequence[str], list[NDArray[Any]]]]:
        """Some keys at a time, and for each field their vectors (n, dim)."""
        for start in range(0, len(keys), READ_ROWS):
            some = keys[start : start + READ_ROWS]
            yield some, [field.get(some, dtype=self.dtype) for field in self.fields.values()]
            self._count(len(some))

    def counted(self, keys: Iterable[str]) -> Iterator[str]:
        """The keys; counts the vectors of each as written when the next key is asked for."""
        for key in keys:
            yield key
            self._count(1)

    def _count(self, num_keys: int) -> None:
        self._bar.update(num_keys)
        self.report.num_vectors += num_keys * len(self.fields)

    def unwritten(self, outputs: Sequence[Output]) -> list[Output]:
        """The files that are not there yet as this export writes them; counts both kinds. See :func:`unwritten`."""
        todo = unwritten(outputs, self.config.overwrite, self._inputs)
        self.report.num_files += len(todo)
        self.report.num_files_before += len(outputs) - len(todo)
        return todo


def _select(path: str, fields: Sequence[str]) -> dict[str, store.Field]:
    """``name in the files -> field``; by default a field is named after its caption field."""
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
    return selected


def file_dtype(fields: Mapping[str, store.Field], dtype: FileDtype) -> Literal["float16", "float32"]:
    """The numbers of exported vectors: as asked, else float16 where all fields are stored so, else float32."""
    return dtype or ("float16" if {field.spec.dtype for field in fields.values()} == {"float16"} else "float32")


def iter_keys(field: store.Field) -> Iterator[str]:
    """A field's keys in the store's order, a block in memory at a time."""
    for block in field.blocks():
        with field.snapshot() as snapshot:
            keys = snapshot.block_keys(block)
        yield from keys

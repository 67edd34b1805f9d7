"""Columns of keyed vectors into fields of a store, block by block.

A file is checked as a whole before anything of it is stored. Blocks are named after their file and keys, so the same
import again adds only what is missing.
"""

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import store
from store.common.errors import (
    ConfigError,
    DuplicateKeyError,
    InvalidVectorsError,
    StaleCaptionError,
    StoreNotFoundError,
)
from store.core.batch import Batch, first_repeated, hash_keys, make_batch
from store.core.dtypes import decode
from store.core.naming import block_name
from store.core.spec import UNKNOWN
from store.sources.keylist import read_keys
from tools.interop.captions import LookUp, known_captions
from tools.interop.columns import Column, Rows, Source
from tools.interop.config import CaptionedImportConfig, ImportConfig
from tools.interop.learning import learn, unknown_model
from tools.interop.report import FieldCounts, ImportReport

HELD_BYTES = 2**29
"""Vectors of one file that are held in memory between check and commit; of larger files they are read twice."""
SAMPLED = 16
"""Vectors of a file that are compared with the vectors that the store has under the same keys."""
MEASURED = 1024
"""Vectors whose length decides whether a field counts as normalised."""


@dataclass(frozen=True, slots=True)
class _Job:
    """Rows of a column that become one block."""

    source: Source
    field: str
    spec: store.FieldSpec
    column: Column
    rows: Rows
    hashes: NDArray[np.uint64]

    def batch(self) -> Batch:
        """The block, read and checked."""
        keys = _keys(self.column, self.rows)
        try:
            block = block_name(self.source.name, keys)
            return make_batch(self.spec, block, keys, self.column.read(self.rows), self.hashes)
        except InvalidVectorsError as error:
            raise InvalidVectorsError(f"{self.source.path!r} cannot be imported: {error}") from None


def import_vectors(config: ImportConfig, sources: Sequence[Source]) -> ImportReport:
    """Import every source, one after the other; what was imported before an error stays.

    Captions that the settings name take the place of what the files say of their captions.

    Raises:
        KeyclipError: a file or setting is wrong; nothing of that file was stored.
    """
    report = ImportReport(config.store)
    captions = known_captions(config) if isinstance(config, CaptionedImportConfig) else None
    importer = _Importer(config, captions, report)
    started = time.perf_counter()
    total = sum(source.num_bytes for source in sources)
    hidden = config.json or not sys.stderr.isatty()
    with tqdm(total=total, unit="B", unit_scale=True, desc="importing", disable=hidden) as bar:
        for source in sources:
            with source.open() as columns:
                for share in importer.add(source, columns):
                    bar.update(share * source.num_bytes)
            report.num_files += 1
    report.seconds = time.perf_counter() - started
    if importer.listed is not None:
        report.not_found = len(importer.listed - importer.met)
    return report


class _Importer:
    def __init__(self, config: ImportConfig, captions: LookUp | None, report: ImportReport) -> None:
        self._config = config
        self._captions = captions
        self._report = report
        self._store: store.Store | None = None  # made only when a whole file was found sound
        with contextlib.suppress(StoreNotFoundError):
            self._store = store.open(config.store, mode="a")
        self._writers: dict[str, store.Writer] = {}
        self._learned = learn(config)
        self.listed = read_keys(config.keys) if config.keys else None
        self.met: set[str] = set()
        """Keys of the list that a file had."""

    def add(self, source: Source, columns: Sequence[Column]) -> Iterator[float]:
        """Import a file; yields the shares of it that are done."""
        counts = {self._field(column): FieldCounts() for column in columns}
        jobs = [job for column in columns for job in self._jobs(source, column, counts[self._field(column)])]
        held = sum(len(job.rows) * job.spec.dim * 4 for job in jobs) <= HELD_BYTES
        checked = []
        for job in jobs:  # all of the file, before anything of it is stored
            batch = job.batch()
            if held:
                checked.append(batch)
        for number, job in enumerate(jobs):
            self._commit(job, checked[number] if held else job.batch(), counts[job.field])
            yield 1 / len(jobs)
        if not jobs:
            yield 1.0
        for name, more in counts.items():
            known = asdict(self._report.fields.get(name, FieldCounts()))
            self._report.fields[name] = FieldCounts(**{what: known[what] + n for what, n in asdict(more).items()})

    def _commit(self, job: _Job, batch: Batch, counts: FieldCounts) -> None:
        if job.field not in self._writers:
            self._store = self._store or store.open_or_create(self._config.store, self._config.backend)
            self._writers[job.field] = self._store.writer(job.field, job.spec)
        self._report.num_blocks += self._writers[job.field].commit_batch(batch)
        self._report.note = unknown_model(job.spec) or self._report.note
        counts.imported += len(batch)
        counts.unknown_captions += int((job.hashes == store.UNKNOWN_CAPTION).sum())

    def _field(self, column: Column) -> str:
        prefix = self._config.field_prefix or self._made("model", column).rstrip("/").rsplit("/", 1)[-1]
        return f"{prefix}/{column.caption_field.removeprefix('.')}"

    def _made(self, name: str, column: Column, default: Any = None) -> Any:
        """A setting of how vectors were made: as it is given, as the file says, as the model says, or ``default``."""
        value = getattr(self._config, name)
        if name == "model" and self._learned is not None:
            value = self._learned.model  # not the path of its folder
        if value is None:
            value = getattr(column.made_by or self._learned, name, default)
        if value is None:
            raise ConfigError(f"the file does not say which {name} made its vectors; name it with --{name}")
        return value

    def _jobs(self, source: Source, column: Column, counts: FieldCounts) -> Iterator[_Job]:
        """The blocks that the store lacks of a column."""
        if (twice := first_repeated(hash_keys(column.keys))) is not None:
            raise DuplicateKeyError(
                f"key {column.keys[twice]!r} comes twice in {source.path!r}, the second time at position {twice}; keys "
                "are unique in a field"
            )
        name = self._field(column)
        rows = np.arange(len(column.keys))
        if self.listed is not None:
            rows = np.flatnonzero(np.fromiter((key in self.listed for key in column.keys), bool, len(column.keys)))
            self.met.update(_keys(column, rows))
            counts.not_listed = len(column.keys) - len(rows)
        hashes = column.caption_hashes
        if self._captions:
            hashes = self._captions(column.caption_field, column.keys)
        there = self._store.field(name) if self._store and name in self._store.fields() else None
        spec = self._spec(column, rows, there)
        if there is not None:
            there.spec.require_same(spec, name)
            found = there.contains(_keys(column, rows))
            if found.any():
                _require_same_vectors(source.path, column, rows[found], hashes[rows[found]], there)
            counts.there_before = int(found.sum())
            rows = rows[~found]
        for start in range(0, len(rows), self._config.block_size):
            part = rows[start : start + self._config.block_size]
            yield _Job(source, name, spec, column, part, hashes[part])

    def _spec(self, column: Column, rows: Rows, there: store.Field | None) -> store.FieldSpec:
        if (measured := self._config.normalize) is None and column.made_by is None:
            measured = there.spec.normalize if there is not None else _have_unit_length(column, rows)
        if self._learned is not None and self._learned.dim != column.dim:
            raise ConfigError(
                f"model {self._config.model!r} makes vectors of {self._learned.dim} numbers, the vectors of "
                f"{column.caption_field!r} have {column.dim}; name the model that made them with --model"
            )
        defaults = {"revision": UNKNOWN, "kind": "llm", "template": "", "pooling": UNKNOWN, "max_length": 512}
        defaults |= {"model": None, "normalize": measured}
        return store.FieldSpec(
            **{name: self._made(name, column, default) for name, default in defaults.items()},
            caption_field=column.caption_field,
            dim=column.dim,
            dtype=self._config.dtype or column.dtype,
        )


def _keys(column: Column, rows: Rows) -> list[str]:
    return [column.keys[row] for row in rows.tolist()]


def _have_unit_length(column: Column, rows: Rows) -> bool:
    """Whether the first vectors are normalised."""
    vectors = column.read(rows[:MEASURED]).astype(np.float64)
    return bool(len(vectors)) and bool((np.abs(np.linalg.norm(vectors, axis=1) - 1) < 1e-2).all())


def _require_same_vectors(
    file: str, column: Column, rows: Rows, hashes: NDArray[np.uint64], there: store.Field
) -> None:
    """Refuse a file whose keys the field has with other captions or vectors, such as the keys of another dataset.

    Raises:
        StaleCaptionError, DuplicateKeyError: naming a key.
    """
    keys = _keys(column, rows)
    differ = store.captions_differ(there.caption_hashes(keys), hashes)
    has = f"field {there.name!r} has key {{!r}} of {file!r} already, with"
    remedy = "import into a field of another name (--field-prefix), or into another store if the dataset is another one"
    if differ.any():
        raise StaleCaptionError(f"{has.format(keys[differ.argmax()])} the vector of another caption; {remedy}")
    sampled = np.unique(np.linspace(0, len(rows) - 1, min(SAMPLED, len(rows))).astype(np.int64))
    some = [keys[i] for i in sampled.tolist()]
    batch = make_batch(there.spec, file, some, column.read(rows[sampled]), hashes[sampled])
    ours = np.empty((len(some), there.spec.dim), np.float32)
    decode(batch.rows, batch.scales, there.spec.dtype, ours)
    other = (ours != there.get(some, dtype=np.float32)).any(axis=1)
    if other.any():
        raise DuplicateKeyError(f"{has.format(some[int(other.argmax())])} another vector; {remedy}")

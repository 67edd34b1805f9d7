"""Which row belongs to which sample: a join on disk whose memory does not grow with the number of rows or samples.

Samples and rows are hashed by one form of their value after the other (:mod:`tools.preparing.urls`; a single form when
keys are compared) and laid aside in partitions by hash; equal forms meet in the same partition. A row takes the most
exact form in which any sample is equal to it. Then rows are gathered by sample, and a sample keeps one row.

=========================================================  =====================================
a row                                                      becomes
=========================================================  =====================================
equals no sample, or says nothing of its sample            unmatched
equals several samples                                     ambiguous
equals one sample, and no other row does as exactly        matched
equals one sample, as others do which say the same         the first is matched, the others repeated
equals one sample, as others do which say something else   ambiguous, all of them
equals one sample, which another row equals more exactly   ambiguous
=========================================================  =====================================
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.errors import ConfigError
from tools.preparing.equality import digest_column, digests_of, equal_samples
from tools.preparing.samples import Sample
from tools.preparing.spill import RANGE, Spill, by_hash, by_number

UNMATCHED, MATCHED, AMBIGUOUS, REPEATED = range(4)
NOT_A_SAMPLE = -1


@dataclass(frozen=True, slots=True)
class Comparison:
    """How values are compared."""

    names: Sequence[str]
    """Names of the forms, from the most exact to the least."""
    forms: Callable[[str], Sequence[str]]
    """A value in these forms; an empty one is equal to nothing."""


T = TypeVar("T")

_BATCH = 2**15


@dataclass(slots=True)
class Counts:
    """What the join found."""

    num_samples: int = 0
    num_rows: int = 0
    num_matched: int = 0
    num_unmatched: int = 0
    num_ambiguous: int = 0
    num_repeated: int = 0
    num_samples_without_row: int = 0
    matched_by: dict[str, int] = field(default_factory=dict)


class Matching:
    """The join; its steps are called in this order: samples, rows, solve, then the outcomes are read."""

    def __init__(self, folder: Path, comparison: Comparison) -> None:
        """``folder`` is there and empty."""
        self.counts = Counts()
        self._comparison = comparison
        self._samples = [Spill(folder / f"samples-{name}") for name in comparison.names]
        self._rows = [Spill(folder / f"rows-{name}") for name in comparison.names]
        self._all = Spill(folder / "samples")
        self._found = Spill(folder / "found")
        self._claims = Spill(folder / "claims")
        self._verdicts = Spill(folder / "verdicts")
        self._without = Spill(folder / "without-row")

    def add_samples(self, samples: Iterable[Sample]) -> None:
        """Take in every sample: its key, and the value that rows are compared with."""
        for batch in _batched(samples):
            numbers = np.arange(len(batch)) + self.counts.num_samples
            keys, values = zip(*batch, strict=True)
            table = pa.table({"key": pa.array(keys, pa.large_string()), "number": numbers})
            self._all.add(by_hash(digests_of(keys)), table)
            self._lay_aside(values, table, self._samples)
            self.counts.num_samples += len(batch)

    def add_rows(self, rows: Iterable[tuple[str | None, int]]) -> None:
        """Take in every row: what it says of its sample, and a digest of everything else that it says."""
        for batch in _batched(rows):
            numbers = np.arange(len(batch)) + self.counts.num_rows
            told, said = zip(*batch, strict=True)
            table = pa.table({"row": numbers, "said": pa.array(said, pa.uint64())})
            self._lay_aside(told, table, self._rows)
            self.counts.num_rows += len(batch)

    def solve(self, progress: Callable[[], object] = lambda: None) -> None:
        """Decide about every row; ``progress`` is called about ``num_steps`` times.

        Raises:
            ConfigError: two samples have the same key.
        """
        for exactness, (samples, rows) in enumerate(zip(self._samples, self._rows, strict=True)):
            for partition in range(rows.num_partitions):
                if (ours := rows.read(partition)) is not None and (theirs := samples.read(partition)) is not None:
                    found = equal_samples(ours, theirs, exactness)
                    self._found.add(by_number(found["row"].to_numpy()), found)
                progress()
        for found in self._found:
            self._choose_form(found)
            progress()
        for partition in range(self._all.num_partitions):
            if (there := self._all.read(partition)) is not None:
                self._choose_rows(there, self._claims.read(partition))
            progress()
        self.counts.num_unmatched = self.counts.num_rows - sum(
            (self.counts.num_matched, self.counts.num_ambiguous, self.counts.num_repeated)
        )

    def outcomes(self, first_row: int, num_rows: int) -> pa.Table:
        """What became of rows ``first_row`` to ``first_row + num_rows``, one partition by number: a table with the
        columns ``status``, ``key``, ``number`` (of the sample), ``form`` and ``candidates``, a row each. Once only.
        """
        decided = self._verdicts.read(first_row // RANGE)
        if decided is None:
            return _undecided(num_rows)
        place = np.full(num_rows, decided.num_rows)
        place[decided["row"].to_numpy() - first_row] = np.arange(decided.num_rows)
        return pa.concat_tables([decided.drop_columns("row"), _undecided(1)]).take(pa.array(place))

    def samples_without_row(self) -> Iterator[list[str]]:
        """Keys of the samples that no row is matched to, in the samples' order. Once only."""
        for table in self._without:
            yield table.sort_by("number")["key"].to_pylist()

    def _lay_aside(self, values: Sequence[str | None], rest: pa.Table, spills: Sequence[Spill]) -> None:
        """Lay ``rest`` aside under the digest of each value's forms; rows whose value has none are left out."""
        nothing = [""] * len(spills)
        forms = zip(*(self._comparison.forms(value) if value else nothing for value in values), strict=True)
        for texts, spill in zip(forms, spills, strict=True):
            there = np.array([bool(text) for text in texts], bool)
            digests = digests_of([text for text in texts if text])
            there_with_digest = rest.filter(pa.array(there)).append_column("digest", digest_column(digests))
            spill.add(by_hash(digests), there_with_digest)

    def _choose_form(self, found: pa.Table) -> None:
        """Of each row's finds the most exact one: a claim on a sample, or ambiguous."""
        row, exactness = found["row"].to_numpy(), found["form"].to_numpy()
        order = np.lexsort((exactness, row))
        first = order[np.r_[True, row[order][1:] != row[order][:-1]]] if len(order) else order
        found = found.take(pa.array(first))
        several = found["count"].to_numpy() > 1
        self._decide(found.filter(pa.array(several)), AMBIGUOUS)
        claims = found.filter(pa.array(~several))
        self._claims.add(by_hash(digests_of(claims["key"].to_pylist())), claims)

    def _choose_rows(self, samples: pa.Table, claims: pa.Table | None) -> None:
        """Of the rows that claim a sample the most exact one, if it is the only one to say what it says."""
        _refuse_repeated(samples)
        if claims is None:
            self._leave(samples)
            return
        number, said = claims["number"].to_numpy(), claims["said"].to_numpy()
        row, exactness = claims["row"].to_numpy(), claims["form"].to_numpy()
        order = np.lexsort((row, exactness, number))
        starts = np.flatnonzero(np.r_[True, number[order][1:] != number[order][:-1]])
        status = np.full(len(order), AMBIGUOUS)
        sizes = np.diff(np.r_[starts, len(order)])
        status[order[starts[sizes == 1]]] = MATCHED
        for start, size in zip(starts[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
            group = order[start : start + size]
            best = group[exactness[group] == exactness[group[0]]]
            if (said[best] == said[best[0]]).all():
                status[best] = REPEATED
                status[best[0]] = MATCHED
        for outcome in (MATCHED, AMBIGUOUS, REPEATED):
            self._decide(claims.filter(pa.array(status == outcome)), outcome)
        self._leave(samples.filter(pa.array(~np.isin(samples["number"].to_numpy(), number[status == MATCHED]))))

    def _leave(self, samples: pa.Table) -> None:
        self.counts.num_samples_without_row += samples.num_rows
        self._without.add(by_number(samples["number"].to_numpy()), samples)

    def _decide(self, rows: pa.Table, status: int) -> None:
        names, codes = list(self._comparison.names), rows["form"].to_numpy()
        if status == MATCHED:
            self.counts.num_matched += rows.num_rows
            for code, count in zip(*np.unique(codes, return_counts=True), strict=True):
                self.counts.matched_by[names[code]] = self.counts.matched_by.get(names[code], 0) + int(count)
        self.counts.num_ambiguous += rows.num_rows * (status == AMBIGUOUS)
        self.counts.num_repeated += rows.num_rows * (status == REPEATED)
        verdicts = pa.table(
            {
                "row": rows["row"],
                "status": pa.array(np.full(rows.num_rows, status, np.int8)),
                "key": rows["key"],
                "number": rows["number"],
                "form": pa.array(names, pa.large_string()).take(pa.array(codes)),
                "candidates": rows["candidates"],
            }
        )
        self._verdicts.add(by_number(rows["row"].to_numpy()), verdicts)


def _batched(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, _BATCH)):
        yield batch


def _undecided(count: int) -> pa.Table:
    nothing = pa.nulls(count, pa.large_string())
    number = pa.array(np.full(count, NOT_A_SAMPLE))
    status = pa.array(np.full(count, UNMATCHED, np.int8))
    return pa.table({"status": status, "key": nothing, "number": number, "form": nothing, "candidates": nothing})


def _refuse_repeated(samples: pa.Table) -> None:
    if pc.count_distinct(samples["key"]).as_py() < samples.num_rows:
        counts = pc.value_counts(samples["key"].combine_chunks())
        key = next(entry["values"] for entry in counts.to_pylist() if entry["counts"] > 1)
        raise ConfigError(
            f"sample key {key!r} stands in several of the shards; keys must be unique: prepare data sets whose keys "
            "collide one by one"
        )

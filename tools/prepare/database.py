"""A DuckDB database on disk for one command: tables larger than memory are joined, sorted and counted in it."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pyarrow as pa

from store.common.errors import StoreFullError

T = TypeVar("T")

MEMORY_LIMIT = "512MiB"
"""What DuckDB keeps in memory; it spills the rest to its folder."""
BATCH = 2**15
"""Rows that are inserted together."""


class Database:
    """A temporary database in a folder of its own next to a command's output. Use it as a context manager.

    Raises:
        StoreFullError: no space left on the disk.
    """

    def __init__(self, output: Path) -> None:
        """``output``: a file of the command; the database needs about as much of its disk as the inserted rows."""
        self._output = output

    def __enter__(self) -> Self:
        import duckdb

        self._output.parent.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix=".preparing-", dir=self._output.parent))
        spilled = str(self._folder / "spilled")
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": spilled,
        }
        try:
            self._connection = duckdb.connect(self._folder / "database", config=settings)
        except duckdb.Error as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._tell_full_disk(error)
            raise
        self._connection.execute("SET enable_progress_bar = false")  # it is drawn on stdout
        self._connection.execute("SET arrow_large_buffer_size = true")  # batches with more than 2 GiB of captions
        self._tables: set[str] = set()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import duckdb

        self._connection.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        if isinstance(error, duckdb.Error):
            self._tell_full_disk(error)

    def _tell_full_disk(self, error: Exception) -> None:
        if "No space left" in str(error):
            raise StoreFullError(
                f"no space left for {str(self._output)!r} and the temporary files next to it; free some, or write the "
                "output to another disk"
            ) from error

    def insert(self, table: str, rows: pa.Table) -> None:
        """Append rows to a table, which the first rows make; no rows make no table."""
        self._connection.register("rows_of_a_batch", rows)
        verb = f"INSERT INTO {table}" if table in self._tables else f"CREATE TABLE {table} AS"
        self._connection.execute(f"{verb} SELECT * FROM rows_of_a_batch")
        self._connection.unregister("rows_of_a_batch")
        self._tables.add(table)

    def run(self, sql: str, *values: object) -> None:
        """Run a statement; ``?`` in it stands for the values in their order."""
        self._connection.execute(sql, values)

    def rows(self, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, as they are asked for."""
        found = self._connection.cursor().execute(sql, values)
        while some := found.fetchmany(BATCH):
            yield from some

    def row(self, sql: str, *values: object) -> tuple[Any, ...]:
        """The only row of a query."""
        return next(self.rows(sql, *values))

    def batches(self, sql: str, *values: object) -> Iterator[pa.RecordBatch]:
        """The rows of a query as Arrow batches."""
        yield from self._connection.sql(sql, params=values).to_arrow_reader(BATCH)


def batched(items: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """Lists of ``size`` items; the last may be shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch

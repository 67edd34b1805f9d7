"""A DuckDB database on disk for one command: tables larger than memory are joined, sorted and counted in it."""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from store.common.errors import StoreFullError

if TYPE_CHECKING:
    import duckdb

T = TypeVar("T")

MEMORY_LIMIT = "512MiB"  # of DuckDB, which spills the rest to its folder
BATCH = 2**15  # rows that are inserted together


@contextlib.contextmanager
def temporary_database(output: Path) -> Iterator["Database"]:
    """A database in a folder of its own next to ``output``, which takes as much of the disk as the inserted rows.

    Raises:
        StoreFullError: no space left on the disk.
    """
    import duckdb

    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".preparing-", dir=output.parent, ignore_cleanup_errors=True) as folder:
        try:
            settings: Any = {"memory_limit": MEMORY_LIMIT, "temp_directory": f"{folder}/spilled"}
            with duckdb.connect(f"{folder}/database", config=settings) as connection:
                connection.execute("SET enable_progress_bar = false")  # it is drawn on stdout
                connection.execute("SET arrow_large_buffer_size = true")  # batches with more than 2 GiB of captions
                yield Database(connection)
        except duckdb.Error as error:
            if "No space left" not in str(error):
                raise
            raise StoreFullError(
                f"no space left for {str(output)!r} and the temporary files next to it; free some, or write the "
                "output to another disk"
            ) from error


class Database:
    """Tables, and queries of them in SQL; ``?`` in a statement stands for the values in their order."""

    def __init__(self, connection: "duckdb.DuckDBPyConnection") -> None:
        self._connection = connection
        self._tables: set[str] = set()

    def insert(self, table: str, columns: dict[str, Any]) -> None:
        """Append rows, given as columns, to a table, which the first rows make."""
        self._connection.register("rows_of_a_batch", pa.table(columns))
        verb = f"INSERT INTO {table}" if table in self._tables else f"CREATE TABLE {table} AS"
        self._connection.execute(f"{verb} SELECT * FROM rows_of_a_batch")
        self._connection.unregister("rows_of_a_batch")
        self._tables.add(table)

    def run(self, sql: str) -> None:
        """Run a statement."""
        self._connection.execute(sql)

    def rows(self, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, read as they are consumed."""
        found = self._connection.cursor().execute(sql, values)
        while some := found.fetchmany(BATCH):
            yield from some

    def value(self, sql: str) -> Any:
        """The only value of a query."""
        return next(self.rows(sql))[0]

    def batches(self, sql: str) -> Iterator[pa.RecordBatch]:
        """The rows of a query as Arrow batches."""
        yield from self._connection.sql(sql).to_arrow_reader(BATCH)


def texts(values: Iterable[str | None]) -> pa.Array:
    """A column of texts, of any length in all."""
    return pa.array(values, pa.large_string())


def batched(items: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """Lists of ``size`` items; the last may be shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch

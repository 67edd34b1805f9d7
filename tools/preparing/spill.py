"""Rows laid aside on disk in partitions, so that what belongs together can be read back together."""

import contextlib
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from store.files import full_disk_is_told

NUM_PARTITIONS = 128
"""For partitions by hash: of 15 million rows each holds about 120,000."""

RANGE = 2**15
"""For partitions by number: rows with numbers from ``i * RANGE`` on are in partition ``i``."""

_BUFFERED_BYTES = 16 * 2**20


class Spill:
    """Tables of one schema, divided by partition number; rows of a partition keep the order in which they came.

    Raises:
        StoreFullError: no space left on the disk.
    """

    def __init__(self, folder: Path) -> None:
        """``folder`` is made; it is the caller's to remove."""
        folder.mkdir()
        self._folder = folder
        self._buffers: defaultdict[int, list[pa.Table]] = defaultdict(list)
        self._num_bytes = 0
        self.num_partitions = 0
        """Greatest partition number so far, plus 1."""

    def add(self, partitions: np.ndarray, rows: pa.Table) -> None:
        """Lay rows aside; ``partitions`` (n,) tells where each belongs."""
        if not len(partitions):
            return
        order = np.argsort(partitions, kind="stable")
        partitions, rows = partitions[order], rows.take(pa.array(order))
        starts = np.flatnonzero(np.r_[True, partitions[1:] != partitions[:-1]])
        for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True):
            self._buffers[int(partitions[start])].append(rows.slice(start, end - start))
        self.num_partitions = max(self.num_partitions, int(partitions[-1]) + 1)
        self._num_bytes += rows.nbytes
        if self._num_bytes > _BUFFERED_BYTES:
            self._flush()

    def read(self, partition: int) -> pa.Table | None:
        """The rows of a partition, which are gone from the disk then; None if it has none."""
        tables, file = [], self._folder / str(partition)
        if file.exists():
            with pa.OSFile(str(file)) as source:
                while source.tell() < source.size():
                    tables.append(pa.ipc.open_stream(source).read_all())
            file.unlink()
        tables += self._buffers.pop(partition, [])
        return pa.concat_tables(tables).combine_chunks() if tables else None

    def __iter__(self) -> Iterator[pa.Table]:
        """All partitions that have rows, in order."""
        self._flush()
        for partition in range(self.num_partitions):
            if (rows := self.read(partition)) is not None:
                yield rows

    def _flush(self) -> None:
        with full_disk_is_told(self._folder):
            for partition, tables in self._buffers.items():
                with (self._folder / str(partition)).open("ab") as file:
                    table = pa.concat_tables(tables)
                    with pa.ipc.new_stream(file, table.schema) as stream:
                        stream.write_table(table)
        self._buffers.clear()
        self._num_bytes = 0


@contextlib.contextmanager
def working_folder(output: Path) -> Iterator[Path]:
    """A folder beside ``output`` for what is laid aside; gone afterwards, whatever happens."""
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".preparing-", dir=output.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def by_hash(digests: np.ndarray) -> np.ndarray:
    """Partitions of digests, (n,) bytes of any width: their first byte decides."""
    return digests.view(np.uint8).reshape(len(digests), digests.itemsize)[:, 0] % NUM_PARTITIONS


def by_number(numbers: np.ndarray) -> np.ndarray:
    """Partitions of row or sample numbers."""
    return numbers // RANGE

"""What the tests of data preparation read and write."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from store.sources.shards import iter_samples


@dataclass(frozen=True)
class Download:
    """A download of ``list.csv`` that saved only the raw captions.

    Attributes:
        keys: of the samples, in the shards' order.
        row_of: the row of the list that each sample was downloaded from.
    """

    folder: Path
    shards: list[str]
    table: Path
    keys: list[str]
    rows: list[dict[str, str]]

    def row_of(self, key: str) -> dict[str, str]:
        """Of 20 urls a shard, as keys tell."""
        return self.rows[int(key[:5]) * 20 + int(key[5:])]


def keys_of(shards: Iterable[Path]) -> list[str]:
    return [key for shard in shards for key, _ in iter_samples(str(shard), [])]


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "list.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_parquet(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


def read_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def printed_json(capsys) -> Any:
    return json.loads(capsys.readouterr().out)

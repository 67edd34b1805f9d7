"""Captions from shards or keyed files, to say from which captions imported vectors were made."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Self

import numpy as np
from numpy.typing import NDArray

import store
from embedder.reading.captions import Row, file_rows, shard_rows
from store.common.errors import ConfigError
from store.core.batch import hash_keys
from store.index.keytable import ABSENT, Hashes, KeyTable
from store.sources.shards import expand_shards
from tools.interop.columns import unknown_captions
from tools.interop.config import CaptionedImportConfig

_CHUNK = 10_000


class KnownCaptions:
    """Hashes of captions by sample key: about 32 bytes a key and 8 more for each caption field."""

    def __init__(self, caption_fields: Sequence[str], table: KeyTable, hashes: NDArray[np.uint64]) -> None:
        self._columns = {field: column for column, field in enumerate(caption_fields)}
        self._table = table
        self._hashes = hashes

    @classmethod
    def read(
        cls, shards: Sequence[str], files: Sequence[str], key_column: str, caption_fields: Sequence[str]
    ) -> Self | None:
        """Read the captions of shards and keyed files (.jsonl, .csv, .tsv, .parquet); None if none are named.

        Raises:
            KeyclipError: one of them is absent or damaged.
        """
        if not shards and not files:
            return None
        sources = [shard_rows(shard, caption_fields, "skip") for shard in (expand_shards(shards) if shards else ())]
        sources += [file_rows(file, key_column, caption_fields, "skip") for file in files]
        keys: list[Hashes] = [np.empty((0, 2), np.uint64)]
        hashes = [np.empty((0, len(caption_fields)), np.uint64)]
        for rows in sources:
            for chunk in _chunks(rows):
                keys.append(hash_keys([key for key, _ in chunk]))
                hashes.append(hash_rows([captions for _, captions in chunk], len(caption_fields)))
        places = np.arange(sum(map(len, keys)))
        return cls(caption_fields, KeyTable.build(np.concatenate(keys), places), np.concatenate(hashes))

    @classmethod
    def named(cls, config: CaptionedImportConfig, caption_fields: Sequence[str]) -> Self | None:
        """Those that the settings of an import name; None if they name none.

        Raises:
            ConfigError: it is not said for which caption fields.
        """
        if (config.shards or config.captions) and not caption_fields:
            raise ConfigError("--shards and --captions need --caption-fields, to say which captions were embedded")
        return cls.read(config.shards, config.captions, config.caption_key_column, caption_fields)

    def of(self, caption_field: str, keys: Sequence[str]) -> NDArray[np.uint64]:
        """Hashes (n,) of the keys' captions; UNKNOWN_CAPTION where there is none."""
        places = self._table.locate(hash_keys(keys))
        found = places != ABSENT
        hashes = unknown_captions(len(keys))
        hashes[found] = self._hashes[places[found], self._columns[caption_field]]
        return hashes


def hash_rows(captions: Sequence[Sequence[str | None]], num_fields: int) -> NDArray[np.uint64]:
    """Hashes of captions (n, fields); UNKNOWN_CAPTION for those that are empty or absent."""
    hashes = np.full((len(captions), num_fields), store.UNKNOWN_CAPTION, np.uint64)
    for row, texts in enumerate(captions):
        for column, text in enumerate(texts):
            if text:
                hashes[row, column] = store.caption_hash(text)
    return hashes


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(islice(rows, _CHUNK)):
        yield chunk

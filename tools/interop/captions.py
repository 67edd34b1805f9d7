"""Captions from shards or keyed files, which say from which captions imported vectors were made."""

from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

import store
from embedder.reading.captions import file_rows, shard_rows
from store.common.errors import ConfigError
from store.core.batch import hash_keys
from store.index.keytable import ABSENT, KeyTable
from store.sources.shards import expand_shards
from tools.interop.columns import unknown_captions
from tools.interop.config import CaptionedImportConfig

_CHUNK = 10_000

LookUp = Callable[[str, Sequence[str]], NDArray[np.uint64]]
"""Hashes (n,) of the captions of a caption field's keys; UNKNOWN_CAPTION where there is none."""


def known_captions(config: CaptionedImportConfig) -> LookUp | None:
    """The captions that the settings of an import name; None if they name none.

    Takes about 32 bytes a key and 8 more for each caption field.

    Raises:
        ConfigError: the settings do not say for which caption fields.
        KeyclipError: a shard or file is absent or damaged.
    """
    fields = config.captioned()
    if not config.shards and not config.captions:
        return None
    if not fields:
        raise ConfigError("--shards and --captions need --caption-fields, to say which captions were embedded")
    shards = expand_shards(config.shards) if config.shards else []
    sources = [shard_rows(shard, fields, "skip") for shard in shards]
    sources += [file_rows(file, config.caption_key_column, fields, "skip") for file in config.captions]
    keys, parts = [np.empty((0, 2), np.uint64)], [np.empty((0, len(fields)), np.uint64)]
    for rows in sources:
        while chunk := list(islice(rows, _CHUNK)):
            keys.append(hash_keys([key for key, _ in chunk]))
            parts.append(hash_rows([captions for _, captions in chunk], len(fields)))
    table = KeyTable.build(np.concatenate(keys), np.arange(sum(map(len, keys))))
    known = np.concatenate(parts)

    def look_up(caption_field: str, keys: Sequence[str]) -> NDArray[np.uint64]:
        places = table.locate(hash_keys(keys))
        found = places != ABSENT
        hashes = unknown_captions(len(keys))
        hashes[found] = known[places[found], fields.index(caption_field)]
        return hashes

    return look_up


def hash_rows(captions: Sequence[Sequence[str | None]], num_fields: int) -> NDArray[np.uint64]:
    """Hashes of captions (n, fields); UNKNOWN_CAPTION for captions that are empty or absent."""
    hashes = np.full((len(captions), num_fields), store.UNKNOWN_CAPTION, np.uint64)
    for row, texts in enumerate(captions):
        for column, text in enumerate(texts):
            if text:
                hashes[row, column] = store.caption_hash(text)
    return hashes

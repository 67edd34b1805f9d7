"""The reading stage of a run: this rank's share of the sources, chunk by chunk."""

import logging
from collections.abc import Iterator

from embedder.reading.captions import Chunk, Row, chunks, file_rows, shard_rows, source_name
from embedder.run.config import EmbedConfig
from store.common.errors import DamagedShardError, ShardNotFoundError
from store.common.ranks import Ranks
from store.sources.keylist import read_keys
from store.sources.shards import expand_shards

log = logging.getLogger("keyclip.embedder")


class Reader:
    """Yields the chunks that this rank must settle, once; counts what it meets.

    Ranks divide the shards. Where there are fewer shards than ranks, or keyed files, every rank reads all and takes
    every n-th chunk.

    Raises:
        ShardNotFoundError, ConfigError: a shard, or the key list, is not there.
    """

    def __init__(self, config: EmbedConfig, ranks: Ranks) -> None:
        self._config = config
        self._listed = read_keys(config.keys) if config.keys else None
        self.num_listed = None if self._listed is None else len(self._listed)
        """Keys in the key list, or None without one."""
        sources = expand_shards(config.shards) if config.shards else []
        for pattern in config.captions:
            sources += expand_shards([pattern]) if any(c in pattern for c in "*?[{@") else [pattern]
        by_shard = bool(config.shards) and len(sources) >= ranks.world_size
        self.sources = ranks.share(sources) if by_shard else sources
        self._ranks = Ranks() if by_shard else ranks
        self.num_rows = 0
        """Samples read so far, of other ranks' chunks too."""
        self.damaged: list[str] = []
        """What was wrong with sources that were left before their end."""

    def __iter__(self) -> Iterator[Chunk]:
        number = 0
        for source in self.sources:
            rows = self._until_damage(source)
            for chunk in chunks(source_name(source), rows, self._config.block_size, self._listed):
                self.num_rows += len(chunk.rows)
                if number % self._ranks.world_size == self._ranks.rank:
                    yield chunk
                elif chunk.last:  # counts as read, for the progress
                    yield Chunk(chunk.source, [], last=True)
                number += 1

    def _until_damage(self, source: str) -> Iterator[Row]:
        """The rows of a source; with ``damaged`` = ``skip`` only the rows before the damage."""
        config = self._config
        try:
            if config.shards:
                yield from shard_rows(source, config.caption_fields, config.missing)
            else:
                yield from file_rows(source, config.key_column, config.caption_fields, config.missing)
        except (DamagedShardError, ShardNotFoundError) as error:
            if config.damaged == "error":
                raise
            log.error("%s", error)
            self.damaged.append(str(error))

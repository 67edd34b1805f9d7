"""A cache of a field's chunks: mapped from a local disk, or held in memory from object storage."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

from store.common.errors import DamagedBlockError
from store.index.hashing import checksum
from store.zarr_backend.bucket import Bucket, Data
from store.zarr_backend.documents import BlockRecord, chunk_key

CACHE_BYTES = 2**29
"""Bytes of chunks from object storage that a process caches."""
MAPPED_CHUNKS = 2**14
"""Chunks of a local store that a process keeps mapped; systems allow about 65,000 maps."""

Wanted = tuple[BlockRecord, str, int]
"""Block, array, number of the chunk."""


class Chunks:
    """The chunks of a field; the cache drops the least recently used first. Safe to use from threads."""

    def __init__(self, bucket: Bucket, folder: str, field: str, check: bool) -> None:
        self._bucket = bucket
        self._folder = folder
        self._field = field
        self._check = check
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Data] = OrderedDict()
        self._kept_bytes = 0
        self._checked: set[str] = set()

    def get(self, wanted: Sequence[Wanted], keep: bool = True) -> list[Data]:
        """Bytes of the chunks; absent ones are read together and, with ``keep``, cached.

        Raises:
            DamagedBlockError: a chunk is absent or differs from its checksum; names the block.
        """
        keys = [f"fields/{self._folder}/data/{block.data}/{chunk_key(array, chunk)}" for block, array, chunk in wanted]
        with self._lock:
            found = {key: self._kept[key] for key in keys if key in self._kept}
            for key in found:
                self._kept.move_to_end(key)
        absent = [(key, item) for key, item in zip(keys, wanted, strict=True) if key not in found]
        for (key, item), data in zip(absent, self._bucket.read([key for key, _ in absent]), strict=True):
            found[key] = self._checked_data(key, item, data)
            if keep:
                self._keep(key, found[key])
        return [found[key] for key in keys]

    def keys(self, blocks: Sequence[BlockRecord]) -> list[list[bytes]]:
        """The keys of blocks, in UTF-8; they are not cached. Raises as :meth:`get`."""
        joined = iter(self.get([(block, "keys", 0) for block in blocks if block.count], keep=False))
        return [next(joined).tobytes().split(b"\0") if block.count else [] for block in blocks]

    def _checked_data(self, key: str, wanted: Wanted, data: Data | None) -> Data:
        block, array, chunk = wanted
        if data is None:
            problem = "is not there"
        elif self._check and key not in self._checked and f"{checksum(data):016x}" != block.checksums[array][chunk]:
            problem = "does not match its checksum"
        else:
            if self._bucket.is_local:
                self._checked.add(key)
            return data
        raise DamagedBlockError(
            f"block {block.name!r} of field {self._field!r} is damaged: chunk {chunk} of its {array} {problem}; "
            "run `keyclip store repair`, then embed its captions again"
        )

    def _keep(self, key: str, data: Data) -> None:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = data
                self._kept_bytes += len(data)
            while len(self._kept) > MAPPED_CHUNKS or (not self._bucket.is_local and self._kept_bytes > CACHE_BYTES):
                self._kept_bytes -= len(self._kept.popitem(last=False)[1])

"""One consistent view of a field's committed blocks: what a backend implements so that fields can be read."""

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from store.core.batch import Batch, hash_keys, join_keys
from store.core.dtypes import STORAGE, has_scales
from store.core.spec import FieldSpec
from store.index.keytable import Places


class Snapshot(ABC):
    """A view of a field that does not change while its context lasts. Only the backend knows what a place means."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        return None

    @abstractmethod
    def count(self) -> int:
        """Number of vectors."""

    @abstractmethod
    def block_names(self) -> list[str]:
        """Names of the blocks, in the order of their commits."""

    @abstractmethod
    def block_keys(self, block: str) -> list[str]:
        """Keys of a block, in its own order. Raises BlockNotFoundError."""

    @abstractmethod
    def block_places(self, block: str) -> Places:
        """Places of a block's rows, in its own order. Raises BlockNotFoundError."""

    @abstractmethod
    def block_digest(self, block: str) -> bytes:
        """The block's :attr:`store.core.batch.Batch.content_digest`. Raises BlockNotFoundError."""

    @abstractmethod
    def locate(self, hashes: NDArray[np.uint64]) -> Places:
        """Places (n,) of key hashes (n, 2); ABSENT where there is no such key."""

    @abstractmethod
    def take_rows(self, places: Places, out: NDArray[Any]) -> None:
        """Copy stored rows (n, dim) into ``out``, which is contiguous and of the stored type.

        Raises:
            DamagedBlockError: a row's checksum does not match.
        """

    @abstractmethod
    def take_scales(self, places: Places) -> NDArray[np.float32]:
        """Scales (n,) of int8 rows."""

    @abstractmethod
    def take_caption_hashes(self, places: Places) -> NDArray[np.uint64]:
        """Caption hashes (n,)."""

    def read_batch(self, block: str, spec: FieldSpec) -> Batch:
        """A block as it is stored. Raises BlockNotFoundError, DamagedBlockError."""
        keys, places = self.block_keys(block), self.block_places(block)
        rows = np.empty((len(keys), spec.dim), STORAGE[spec.dtype])
        self.take_rows(places, rows)
        return Batch(
            block=block,
            keys=keys,
            joined_keys=join_keys(keys),
            hashes=hash_keys(keys),
            caption_hashes=self.take_caption_hashes(places),
            rows=rows,
            scales=self.take_scales(places) if has_scales(spec.dtype) else None,
        )

"""What a backend gives to read from: one consistent view of a field's committed blocks."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from store.index.keytable import Places


class Snapshot(ABC):
    """One consistent view of a field, for as long as its context lasts.

    Places are numbers that mean something to the backend alone.
    """

    @abstractmethod
    def __enter__(self) -> Self:
        """Begin."""

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""

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

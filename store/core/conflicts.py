"""The errors of a commit that meets what is in the field already; the same words for every backend."""

from collections.abc import Callable

import numpy as np

from store.common.errors import BlockExistsError, DuplicateKeyError
from store.core.batch import Batch
from store.index.keytable import ABSENT, Places


def require_same_block(field: str, batch: Batch, content_digest: bytes) -> None:
    """Raises BlockExistsError unless the block that is there has the keys and captions of ``batch``."""
    if content_digest != batch.content_digest:
        raise BlockExistsError(
            f"block {batch.block!r} of field {field!r} is there already with other keys or captions; "
            "commit under another name, or drop the block first"
        )


def require_new_keys(field: str, batch: Batch, places: Places, block_at: Callable[[int], str]) -> None:
    """Raises DuplicateKeyError if a key of ``batch`` has a place already; ``block_at`` names the block of a place."""
    there = np.flatnonzero(places != ABSENT)
    if not len(there):
        return
    more = f" (and {len(there) - 1} more keys)" if len(there) > 1 else ""
    raise DuplicateKeyError(
        f"key {batch.keys[there[0]]!r}{more} of block {batch.block!r} is in field {field!r} already, "
        f"in block {block_at(int(places[there[0]]))!r}; keys are unique in a field: datasets whose keys collide need "
        "a store each"
    )

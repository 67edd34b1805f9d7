"""Keyed vectors on disk: ``(field, sample key) -> vector``. See ``FORMAT.md`` for the layout."""

from store.core.contract import Field, Store, Writer
from store.core.info import FieldInfo
from store.core.spec import FieldSpec
from store.index.hashing import UNKNOWN_CAPTION, caption_hash, caption_hashes, captions_differ
from store.opening import create, open, open_or_create

__all__ = [
    "UNKNOWN_CAPTION",
    "Field",
    "FieldInfo",
    "FieldSpec",
    "Store",
    "Writer",
    "caption_hash",
    "caption_hashes",
    "captions_differ",
    "create",
    "open",
    "open_or_create",
]

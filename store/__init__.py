"""Keyed vectors on disk: ``(field, sample key) -> vector``. See ``FORMAT.md`` for the layout."""

from store.contract import Field, Store, Writer
from store.hashing import caption_hash, caption_hashes
from store.opening import create, open
from store.spec import FieldInfo, FieldSpec

__all__ = [
    "Field",
    "FieldInfo",
    "FieldSpec",
    "Store",
    "Writer",
    "caption_hash",
    "caption_hashes",
    "create",
    "open",
]

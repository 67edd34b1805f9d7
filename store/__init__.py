"""Keyed vectors on disk: ``(field, sample key) -> vector``. See ``FORMAT.md`` for the layout."""

from store.contract import Field, Store, Writer
from store.hashing import UNKNOWN_CAPTION, caption_hash, caption_hashes, captions_differ
from store.opening import create, open, open_or_create
from store.spec import FieldInfo, FieldSpec

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

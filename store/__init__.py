"""Keyed vectors on disk: ``(field, sample key) -> vector``. See ``FORMAT.md`` for the layout."""

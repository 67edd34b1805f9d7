"""Captions in, keyed vectors out: encodes captions with a frozen model and commits them to a store."""

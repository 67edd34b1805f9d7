"""Captions as chunks of keyed rows, from shards or keyed files."""

"""Demonstration data: captioned scenes of emoji, rendered the same way on every machine.

``vocabulary`` (things and their words) -> ``scene`` (which of them are in it) -> ``draw`` (pixels) and ``captions``
(language) -> ``dataset`` (splits and shards).
"""

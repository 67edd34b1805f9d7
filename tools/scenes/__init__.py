"""Demonstration data: captioned scenes of coloured shapes, rendered the same way on every machine.

``vocabulary`` (things and their words) -> ``scene`` (what stands where) -> ``draw`` (pixels) and ``captions``
(language) -> ``dataset`` (splits and shards).
"""

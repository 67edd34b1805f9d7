"""Which scene belongs to which split: an endless sequence of distinct scenes for every split.

The hash of a scene's signature (what a short caption describes) decides which split may hold it, so that no two splits
share a scene, however large they are made; and within a split no signature comes twice. The n-th scene of a split
depends on the seed and the theme alone, never on how many scenes are asked for.
"""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import islice
from random import Random

from tools.scenes.scene import Scene, compose

# split -> (number of its first shard, its shares of the signatures out of 10). Shard numbers differ between splits,
# so that sample keys do as well and the captions of all splits can go into one store.
SPLITS: dict[str, tuple[int, frozenset[int]]] = {
    "pretrain": (0, frozenset(range(3))),
    "texts": (60000, frozenset({3})),
    "finetune": (70000, frozenset({4, 5})),
    "dev": (80000, frozenset({6, 7})),
    "test": (90000, frozenset({8, 9})),
}
MAX_SHARDS = 10000
# The first thousand test scenes have been looked at while two settings of the demonstration were chosen.
USED_TEST_SCENES = 1000


def iter_scenes(split: str, seed: int, theme: Sequence[bool]) -> Iterator[Scene]:
    """The scenes of a split, in order and without end."""
    return islice(_iter_distinct(split, seed, theme), USED_TEST_SCENES if split == "test" else 0, None)


def _iter_distinct(split: str, seed: int, theme: Sequence[bool]) -> Iterator[Scene]:
    random = Random(f"scenes of {split} {seed}")
    seen: set[tuple[str, ...]] = set()
    while True:
        scene = compose(random, theme)
        signature = scene.signature
        share = hashlib.sha256(repr(signature).encode()).digest()[0] % 10
        if share in SPLITS[split][1] and signature not in seen:
            seen.add(signature)
            yield scene

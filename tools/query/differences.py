"""How the fields of two stores differ: specs, keys, captions, vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as default
from itertools import compress

import numpy as np
from numpy.typing import NDArray

import store
from store.core.contract import Field, Progress
from tools.query.pieces import Pieces, block_keys

Matrix = NDArray[np.float32]

MAX_EXAMPLES = 10
MAX_LENGTH_RATIO = 1.01


@dataclass(kw_only=True, slots=True)
class Keys:
    """Some keys: how many, and the first of them."""

    count: int = 0
    examples: list[str] = default(default_factory=list)

    def add(self, keys: Sequence[str]) -> None:
        """Count keys, and keep the first ones."""
        self.count += len(keys)
        self.examples += keys[: max(0, MAX_EXAMPLES - len(self.examples))]


@dataclass(kw_only=True, slots=True)
class FieldDifference:
    """How a field of one name differs between store A and store B."""

    field: str
    spec: list[str] = default(default_factory=list)
    """One clause per setting that differs, A first."""
    num_shared: int = 0
    """Keys in both."""
    num_identical: int = 0
    """Shared keys whose vectors are equal to the last bit, as float32."""
    only_in_a: Keys = default(default_factory=Keys)
    only_in_b: Keys = default(default_factory=Keys)
    captions: Keys = default(default_factory=Keys)
    """Shared keys whose captions are not the same."""
    vectors: Keys = default(default_factory=Keys)
    """Shared keys whose vectors are farther apart than allowed."""
    least_cosine: float | None = None
    """The least cosine between the two vectors of a shared key; None without shared keys, or if the widths differ."""

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        keys = (self.only_in_a, self.only_in_b, self.captions, self.vectors)
        return not self.spec and not any(some.count for some in keys)


def compare(a: Field, b: Field, cosine: float, progress: Progress | None = None) -> FieldDifference:
    """Compare two fields, block by block.

    Args:
        cosine: vectors differ if their cosine is less, or if one is more than 1 % longer than the other.
        progress: called with (field, blocks done, blocks in all).
    """
    found = FieldDifference(field=a.name, spec=a.spec.differences(b.spec))
    keys: list[str] = []
    for piece in Pieces(a, progress):
        if piece.start == 0:
            keys = block_keys(a, piece.block)
        part = keys[piece.start : piece.start + len(piece.vectors)]
        _compare_shared(b, part, piece.vectors, piece.caption_hashes, cosine, found)
    for block in b.blocks():
        keys = block_keys(b, block)
        found.only_in_b.add(list(compress(keys, ~a.contains(keys))))
    return found


def _compare_shared(
    b: Field, keys: Sequence[str], vectors: Matrix, hashes: NDArray[np.uint64], cosine: float, found: FieldDifference
) -> None:
    there = b.contains(keys)
    found.only_in_a.add(list(compress(keys, ~there)))
    shared = list(compress(keys, there))
    if not shared:
        return
    found.num_shared += len(shared)
    captions_differ = store.captions_differ(b.caption_hashes(shared), hashes[there])
    found.captions.add(list(compress(shared, captions_differ)))
    if b.spec.dim != vectors.shape[1]:
        return
    ours, theirs = vectors[there], b.get(shared, dtype="float32")
    other = (ours != theirs).any(axis=1)
    found.num_identical += len(shared) - int(other.sum())
    cosines, ratios = _nearness(ours[other], theirs[other])
    apart = (cosines < cosine) | (ratios > MAX_LENGTH_RATIO)
    found.vectors.add(list(compress(compress(shared, other), apart)))
    found.least_cosine = min([1.0 if found.least_cosine is None else found.least_cosine, *cosines.tolist()])


def _nearness(ours: Matrix, theirs: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cosine (n,), 0 where a vector is zero, and the ratio (n,) of the longer to the shorter length."""
    lengths = np.stack([np.linalg.norm(rows.astype(np.float64), axis=1) for rows in (ours, theirs)])
    products = np.einsum("nd,nd->n", ours, theirs, dtype=np.float64)
    scale = np.where(lengths.prod(axis=0) > 0, lengths.prod(axis=0), 1)
    shorter = np.where(lengths.min(axis=0) > 0, lengths.min(axis=0), np.finfo(np.float64).tiny)
    return products / scale, lengths.max(axis=0) / shorter

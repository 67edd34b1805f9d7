"""Texts that other benchmarks ask for, looked up in a store by what they say: embedded once for every checkpoint."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F

import store
from store.common.errors import MissingKeysError
from trainer.checkpoint.model import Model
from trainer.data.join import Join

Embed = Callable[[Sequence[str]], np.ndarray]
"""Makes (n, D) float32 vectors of texts, as the field's own model does."""


class StoredTexts:
    """Text features in the joint space of a model, from the vectors of one field of a store.

    Benchmarks hand over texts, not keys: a text is found by the hash of its caption, under whatever key it has.

    Attributes:
        missing: texts without a vector, by the key that they are to have; only where they are collected.
    """

    def __init__(self, join: Join, model: Model, *, embed: Embed | None = None, collect: bool = False) -> None:
        """Texts without a vector are embedded by ``embed`` each time anew, or else refused. To ``collect`` is to keep
        them in ``missing`` and to give every text the same feature, so that a benchmark runs through without meaning.

        Raises:
            ConfigError: the field's vectors are not of the model that the text side takes, or not as wide.
        """
        model.require_fit(join)
        self.missing: dict[str, str] = {}
        self._join, self._adapter, self._embed, self._collect = join, model.adapter, embed, collect
        self._dim = model.tower.dim
        keys = join.keys()
        hashes = join.caption_hashes([key.decode() for key in keys.tolist()], 0) if len(keys) else np.zeros(0, "u8")
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._keys = hashes[order], keys[order]

    @torch.no_grad()
    def features(self, texts: Sequence[str]) -> torch.Tensor:
        """L2-normalised features, (n, E) float32 on the CPU, in the order of ``texts``.

        Raises:
            MissingKeysError: texts have no vector; says how many, the first, and what to do.
        """
        hashes = np.array([store.caption_hash(text) for text in texts], dtype=np.uint64)
        places = np.minimum(np.searchsorted(self._hashes, hashes), max(0, len(self._hashes) - 1))
        found = self._hashes[places] == hashes if len(self._hashes) else np.zeros(len(texts), dtype=bool)
        absent = [text for text, there in zip(texts, found.tolist(), strict=True) if not there]
        if self._collect:
            self.missing |= {f"text/{store.caption_hash(text):016x}": text for text in absent}
            return constant_features(len(texts), self._dim)
        vectors = np.zeros((len(texts), self._join.dim), np.float32)
        vectors[found] = self._join.vectors([key.decode() for key in self._keys[places[found]].tolist()], 0)
        if absent:
            vectors[~found] = self._embedded(absent)
        features = torch.from_numpy(vectors)
        return F.normalize(self._adapter(features) if self._adapter else features, dim=-1)

    def _embedded(self, absent: Sequence[str]) -> np.ndarray:
        if self._embed is not None:
            return self._embed(absent)
        raise MissingKeysError(
            f"{len(absent)} texts have no vector in field {self._join.fields[0]!r} of store "
            f"{str(self._join.path)!r}, first {absent[0]!r:.100}; list them with --write-texts and run `keyclip embed` "
            "on that file, or embed them each time with --embed-missing"
        )


def constant_features(count: int, dim: int) -> torch.Tensor:
    """The same unit vector for everything: (count, dim) float32."""
    return torch.eye(1, dim).repeat(count, 1)

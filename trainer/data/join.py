"""The join: caption vectors of a store for samples of image shards, by sample key.

the shard has the key | the field has the key | result
----------------------+-----------------------+--------------------------------------------
yes                   | yes                   | a pair
yes                   | no                    | ``missing="error"``: refused before the first step
                      |                       | ``missing="skip"``: left out, counted
no                    | yes                   | not part of this run
yes                   | of another caption    | refused when the sample is loaded
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

import store
from store.common.errors import ConfigError, MissingKeysError, StaleCaptionError
from store.core.spec import UNKNOWN, UNKNOWN_REMEDY

KEYS_AT_ONCE = 100_000

Missing = Literal["error", "skip"]


class Join:
    """Some fields of one store, looked up by sample key; safe in loader workers.

    Attributes:
        fields: the fields' names, in the order of every array below.
        dim: width of the vectors, the same in all fields.
        dtype: the smallest of float16 and float32 that holds them as they are stored. Batches have it, since converting
            a vector takes longer than finding it.
        made_by: what made them, the same in all fields: model, revision, template, pooling.
    """

    def __init__(self, path: Path, fields: Sequence[str]) -> None:
        """Raises: StoreNotFoundError, FieldNotFoundError; ConfigError: no field named, or not all of one model."""
        opened = store.open(path)
        if not fields:
            there = ", ".join(map(repr, opened.survey()))
            raise ConfigError(f"no field of store {str(path)!r} is named; there are {there}")
        self.path, self.fields = path, tuple(fields)
        self._fields = [opened.field(name) for name in fields]
        specs = [field.spec for field in self._fields]
        dims = {name: spec.dim for name, spec in zip(fields, specs, strict=True)}
        if len(set(dims.values())) > 1:
            raise ConfigError(f"fields of store {str(path)!r} differ in width ({dims}); name fields of one model")
        self.dim = specs[0].dim
        self.dtype = np.dtype("float16" if all(spec.dtype == "float16" for spec in specs) else "float32")
        self.made_by = _made_by(specs[0])
        for name, spec in zip(fields, specs, strict=True):
            if differing := differences(self.made_by, _made_by(spec)):
                raise ConfigError(
                    f"fields {fields[0]!r} and {name!r} of store {str(path)!r} are not of one model ({differing}); "
                    "name fields of one model"
                )

    def covered(self, keys: Sequence[str] | np.ndarray, missing: Missing) -> np.ndarray:
        """Which keys, given as text or as (n,) UTF-8 byte strings, have a vector in every field: (n,) bool.

        Raises: MissingKeysError: some have none and ``missing`` is ``"error"``; names the field and the first keys.
        """
        covered = np.ones(len(keys), dtype=bool)
        for name, field in zip(self.fields, self._fields, strict=True):
            found = np.concatenate([field.contains(part) for part in keys_in_parts(keys)] or [covered])
            if missing == "error" and not found.all():
                absent = np.flatnonzero(~found)
                first = ", ".join(repr(key) for i in absent[:3].tolist() for (key,) in keys_in_parts(keys[i : i + 1]))
                raise MissingKeysError(
                    f"{len(absent)} of {len(keys)} keys have no vector in field {name!r} of store {str(self.path)!r}, "
                    f"first {first}; embed their captions with `keyclip embed`; training can leave them out with "
                    "--missing skip"
                )
            covered &= found
        return covered

    def keys(self) -> np.ndarray:
        """The keys of the first field, in the store's order: (n,) UTF-8 byte strings."""
        with self._fields[0].snapshot() as snapshot:
            blocks = map(snapshot.block_keys, snapshot.block_names())
            parts = [np.array([key.encode() for key in keys], np.bytes_) for keys in blocks if keys]
        return np.concatenate(parts) if parts else np.zeros(0, "S1")

    def vectors(self, keys: Sequence[str], which: int, dtype: DTypeLike = "float32") -> np.ndarray:
        """The vectors of one field: (n, D) float32 (or float16), in the order of ``keys``."""
        return self._fields[which].get(keys, dtype=dtype)

    def drawn(self, keys: Sequence[str], draws: np.ndarray) -> np.ndarray:
        """For each key a vector of the field that ``draws`` (n,) names: (n, D) of ``self.dtype``."""
        rows = np.empty((len(keys), self.dim), self.dtype)
        for which in np.unique(draws):
            places = np.flatnonzero(draws == which).tolist()
            rows[places] = self.vectors([keys[i] for i in places], int(which), self.dtype)
        return rows

    def caption_hashes(self, keys: Sequence[str], which: int) -> np.ndarray:
        """Hashes of the captions that one field was made from: (n,) uint64, in the order of ``keys``."""
        return self._fields[which].caption_hashes(keys)

    def caption_field(self, which: int) -> str:
        """The path of the field's captions within the sample's json."""
        return self._fields[which].spec.caption_field

    def check_captions(self, keys: Sequence[str], captions: Sequence[str | None], which: int) -> None:
        """Raises: StaleCaptionError: a caption is not the one that was embedded under its key."""
        for key, caption, stored in zip(keys, captions, self.caption_hashes(keys, which), strict=True):
            if caption is None or int(stored) == store.UNKNOWN_CAPTION:
                continue
            if store.caption_hash(caption) != int(stored):
                raise StaleCaptionError(
                    f"the caption of sample {key!r} is not the one that field {self.fields[which]!r} of store "
                    f"{str(self.path)!r} was made from: {caption!r:.80}; the shards and the store belong to different "
                    "data, or the captions changed: embed them into a new field"
                )

    def require_made_by(self, made_by: dict[str, str], what: str) -> None:
        """Raises: ConfigError: the vectors are not of the model whose vectors ``what`` was trained on."""
        if differing := differences(made_by, self.made_by):
            raise ConfigError(
                f"{what} was trained on vectors of {made_by['model']!r}; field {self.fields[0]!r} of store "
                f"{str(self.path)!r} holds vectors of {self.made_by['model']!r} ({differing}); name fields of its model"
            )


def keys_in_parts(keys: Sequence[str] | np.ndarray) -> Iterator[list[str]]:
    """The keys as text, some at a time: text takes six times the memory of bytes."""
    for start in range(0, len(keys), KEYS_AT_ONCE):
        part = keys[start : start + KEYS_AT_ONCE]
        yield [key.decode() for key in part.tolist()] if isinstance(part, np.ndarray) else list(part)


def _made_by(spec: store.FieldSpec) -> dict[str, str]:
    return {name: getattr(spec, name) for name in ("model", "revision", "template", "pooling")}


def differences(ours: dict[str, str], theirs: dict[str, str]) -> str:
    """The clauses that differ; the model's name alone does not count, since a copy of a folder is the same model."""
    names = [name for name in ours if name != "model" and ours[name] != theirs[name]]
    clauses = [f"{name} {ours[name]!r} and {theirs[name]!r}" for name in names]
    if "revision" in names and UNKNOWN in (ours["revision"], theirs["revision"]):
        clauses.append(UNKNOWN_REMEDY)
    return "; ".join(clauses)

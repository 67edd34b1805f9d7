"""The data of the pages: fields, samples, neighbours, coverage, statistics. No HTTP in here; safe to use in threads."""

import dataclasses
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import store
from store.common.errors import KeyclipError, MissingKeysError
from tools.query.coverage import KeyCoverage, cover_keys
from tools.query.encoding import choose_model, load_model
from tools.query.gallery import Gallery, captions_in
from tools.query.search import Search
from tools.query.stats import Stats, measure

T = TypeVar("T")


class NotFoundError(KeyclipError, LookupError):
    """There is no such page, sample or field."""


@dataclass(frozen=True, slots=True)
class Card:
    """A sample in a list."""

    key: str
    caption: str | None
    has_image: bool
    similarity: float | None = None


@dataclass(frozen=True, slots=True)
class FieldState:
    """A sample's vector in a field."""

    field: str
    has_vector: bool
    caption_changed: bool
    """Whether the vector was made from another caption than today's."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample."""

    key: str
    has_image: bool
    captions: list[tuple[str, str]]
    """Caption field and text."""
    fields: list[FieldState]


class Library:
    """A store, opened for reading, and the shards with the images and captions of its keys, if they are named."""

    def __init__(
        self,
        path: str,
        shards: Sequence[str] = (),
        *,
        models: Sequence[str] = (),
        adapters: Sequence[str] = (),
        device: str = "auto",
        max_bytes: int = 0,
        show_progress: bool = False,
    ) -> None:
        """``max_bytes``: memory for vectors; a field that does not fit any more is read again for every search.

        Raises:
            StoreNotFoundError, ShardNotFoundError, DamagedShardError, ConfigError: store or shards cannot be opened.
        """
        self.store = store.open(path)
        self.gallery = Gallery(shards, show_progress) if shards else None
        self._models, self._adapters, self._device = tuple(models), tuple(adapters), device
        self._free_bytes = max_bytes
        self._lock = threading.Lock()
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._made: dict[tuple[str, str], Any] = {}
        self._encoding = threading.Lock()

    def fields(self) -> dict[str, store.FieldInfo]:
        """Every field, by name."""
        return self.store.fields()

    def num_samples(self) -> int:
        """The number of samples that :meth:`cards` can list."""
        if self.gallery is not None:
            return len(self.gallery)
        return next((info.num_vectors for info in self.fields().values()), 0)

    def cards(self, first: int, count: int) -> list[Card]:
        """Samples in the order of the shards; without shards, keys in the order of the first field."""
        if self.gallery is None:
            return [Card(key, None, has_image=False) for key in self._stored_keys(first, count)]
        keys = [self.gallery.samples.key(i) for i in range(first, min(first + count, len(self.gallery)))]
        captions = [captions_in(self.gallery.about(key)) for key in keys]
        return [
            Card(key, texts[0][1] if texts else None, has_image=True) for key, texts in zip(keys, captions, strict=True)
        ]

    def near_text(self, name: str, text: str, k: int) -> list[Card]:
        """The nearest captions of a field to a text."""
        field = self.store.field(name)
        made_by = dataclasses.replace(field.spec, caption_field="", dtype="float32").to_json()

        def load() -> Any:
            return load_model(field, choose_model(field, self._models), self._adapters, self._device)

        encoder = self._once("model", made_by, load)
        with self._encoding:
            vectors = encoder.encode([text])
        return self._near(field, vectors, k)

    def near_key(self, name: str, key: str, k: int) -> list[Card]:
        """The nearest captions of a field to a key's caption, without that key."""
        field = self.store.field(name)
        if key not in field:
            raise MissingKeysError(f"key {key!r:.100} has no vector in field {name!r}")
        found = self._near(field, field.get([key], dtype="float32"), k + 1)
        return [card for card in found if card.key != key][:k]

    def is_ready(self, name: str) -> bool:
        """Whether a field can be searched without a long preparation."""
        return ("search", name) in self._made

    def holds(self, key: str) -> bool:
        """Whether there is a sample or a vector of this key."""
        try:
            in_field = any(key in self.store.field(name) for name in self.fields())
        except KeyclipError:  # text that cannot be a key
            return False
        return in_field or self._has_image(key)

    def sample(self, key: str) -> Sample:
        """Everything about a key.

        Raises:
            NotFoundError: neither shards nor fields have it.
        """
        if not self.holds(key):
            raise NotFoundError(f"there is no sample and no vector of key {key!r:.100}")
        about = self.gallery.about(key) if self.gallery else {}
        states = [self._state(self.store.field(name), key) for name in self.fields()]
        return Sample(key, self._has_image(key), captions_in(about), states)

    def image(self, key: str) -> bytes:
        """The bytes of a sample's image; raises NotFoundError."""
        image = self.gallery.image(key) if self.gallery else None
        if image is None:
            raise NotFoundError(f"there is no image of key {key!r:.100}")
        return image

    def stats(self, name: str) -> Stats:
        """Statistics of a field, measured at the first call."""
        field = self.store.field(name)
        return self._once("stats", name, lambda: measure(field))

    def coverage(self, name: str) -> KeyCoverage | None:
        """Which samples have a vector, found at the first call; None without shards."""
        field = self.store.field(name)
        keys = self.gallery.keys() if self.gallery else []
        return self._once("coverage", name, lambda: cover_keys(field, keys)) if keys else None

    def _stored_keys(self, first: int, count: int) -> list[str]:
        """Keys of the first field; only the blocks that hold them are read."""
        keys: list[str] = []
        for name in list(self.fields())[:1]:
            with self.store.field(name).snapshot() as snapshot:
                for block in snapshot.block_names():
                    size = len(snapshot.block_places(block))
                    if first < size and len(keys) < count:
                        keys += snapshot.block_keys(block)[first : first + count - len(keys)]
                    first = max(0, first - size)
        return keys

    def _near(self, field: store.Field, vectors: NDArray[np.float32], k: int) -> list[Card]:
        search: Search = self._once("search", field.name, lambda: self._make_search(field))
        (hits,) = search.nearest(vectors, k)
        return [Card(hit.key, self._caption(hit.key, field), self._has_image(hit.key), hit.similarity) for hit in hits]

    def _make_search(self, field: store.Field) -> Search:
        num_bytes = 4 * len(field) * field.spec.dim
        with self._lock:
            fits = num_bytes <= self._free_bytes
            self._free_bytes -= num_bytes * fits
        return Search(field, max_bytes=num_bytes if fits else 0)

    def _caption(self, key: str, field: store.Field) -> str | None:
        return self.gallery.caption(key, field.spec.caption_field) if self.gallery is not None else None

    def _has_image(self, key: str) -> bool:
        return self.gallery is not None and self.gallery.position(key) is not None

    def _state(self, field: store.Field, key: str) -> FieldState:
        hashes, there = field.caption_hashes([key], missing="mask")
        caption = self._caption(key, field) if there[0] else None
        changed = caption is not None and store.captions_differ(hashes, store.caption_hashes([caption]))[0]
        return FieldState(field.name, bool(there[0]), bool(changed))

    def _once(self, kind: str, name: str, make: Callable[[], T]) -> T:
        """The result of ``make`` at the first call for this name; other threads wait for it."""
        with self._lock:
            lock = self._locks.setdefault((kind, name), threading.Lock())
        with lock:
            if (kind, name) not in self._made:
                self._made[kind, name] = make()
            made: T = self._made[kind, name]
            return made

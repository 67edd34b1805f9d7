"""What the pages show: fields, samples, neighbours, coverage, statistics. Knows nothing of HTTP; safe in threads."""

import dataclasses
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import store
from store.errors import KeyclipError, MissingKeysError
from tools.querying.encoding import choose_model, load_model
from tools.querying.gallery import Gallery, captions_in
from tools.querying.search import Hit, Search
from tools.querying.stats import Stats, measure

if TYPE_CHECKING:
    from embedder.encoder import Encoder

T = TypeVar("T")
MAX_LISTED = 24


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
    """What a field knows of one sample."""

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


@dataclass(frozen=True, slots=True)
class KeyCoverage:
    """Which samples with an image have a vector in a field."""

    num_samples: int
    num_covered: int
    num_without_sample: int
    """Vectors whose key has no sample with an image."""
    uncovered: list[str]
    """The first keys without a vector."""


class Library:
    """A store, opened for reading, and perhaps the shards that its keys stand for."""

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
        """Fields are kept in memory as long as ``max_bytes`` last, others read anew for every search.

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

    def cards(self, first: int, count: int) -> list[Card]:
        """Samples in the order of the shards; without shards, keys in the order of the first field."""
        if self.gallery is not None:
            keys = [self.gallery.samples.key(i) for i in range(first, min(first + count, len(self.gallery)))]
        else:
            keys = self._all_keys()[first : first + count]
        return [self._card(key, None) for key in keys]

    def num_samples(self) -> int:
        """How many samples :meth:`cards` can list."""
        return len(self.gallery) if self.gallery is not None else len(self._all_keys())

    def near_text(self, name: str, text: str, k: int) -> list[Card]:
        """The nearest captions of a field to a text."""
        field = self.store.field(name)
        made_by = dataclasses.replace(field.spec, caption_field="", dtype="float32").to_json()
        encoder: Encoder = self._once("model", made_by, lambda: self._load_model(field))
        with self._encoding:
            vectors = encoder.encode([text])
        return self._near(field, vectors, k)

    def near_key(self, name: str, key: str, k: int) -> list[Card]:
        """The nearest captions of a field to a key's; not itself."""
        field = self.store.field(name)
        if key not in field:
            raise MissingKeysError(f"key {key!r:.100} has no vector in field {name!r}")
        found = self._near(field, field.get([key], dtype="float32"), k + 1)
        return [card for card in found if card.key != key][:k]

    def holds(self, key: str) -> bool:
        """Whether there is a sample or a vector of this key."""
        try:
            in_field = any(key in self.store.field(name) for name in self.fields())
        except KeyclipError:  # text that cannot be a key
            return False
        return in_field or (self.gallery is not None and self.gallery.position(key) is not None)

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
        """Which samples have a vector, looked up at the first call; None without shards."""
        field = self.store.field(name)
        return self._once("coverage", name, lambda: self._cover(field)) if self.gallery else None

    def _cover(self, field: store.Field) -> KeyCoverage:
        assert self.gallery is not None
        keys = [key.decode() for key in self.gallery.samples.keys]
        covered = field.contains(keys)
        uncovered = [keys[i] for i in np.flatnonzero(~covered)[:MAX_LISTED]]
        found = int(covered.sum())
        return KeyCoverage(len(keys), found, len(field) - found, uncovered)

    def _all_keys(self) -> list[str]:
        names = list(self.fields())
        return self._once("keys", names[0], lambda: self.store.field(names[0]).keys()) if names else []

    def _near(self, field: store.Field, vectors: NDArray[np.float32], k: int) -> list[Card]:
        search: Search = self._once("search", field.name, lambda: self._make_search(field))
        (hits,) = search.nearest(vectors, k)
        return [self._card(hit.key, field, hit) for hit in hits]

    def _make_search(self, field: store.Field) -> Search:
        num_bytes = 4 * len(field) * field.spec.dim
        with self._lock:
            fits = num_bytes <= self._free_bytes
            self._free_bytes -= num_bytes * fits
        return Search(field, max_bytes=num_bytes if fits else 0)

    def _card(self, key: str, field: store.Field | None, hit: Hit | None = None) -> Card:
        caption = None
        if self.gallery is not None:
            if field is not None:
                caption = self.gallery.caption(key, field.spec.caption_field)
            else:
                caption = next((text for _, text in captions_in(self.gallery.about(key))), None)
        return Card(key, caption, self._has_image(key), hit.similarity if hit else None)

    def _has_image(self, key: str) -> bool:
        return self.gallery is not None and self.gallery.position(key) is not None

    def _state(self, field: store.Field, key: str) -> FieldState:
        hashes, there = field.caption_hashes([key], missing="mask")
        caption = self.gallery.caption(key, field.spec.caption_field) if self.gallery else None
        changed = False
        if there[0] and caption is not None:
            changed = bool(store.captions_differ(hashes, store.caption_hashes([caption]))[0])
        return FieldState(field.name, bool(there[0]), changed)

    def _load_model(self, field: store.Field) -> "Encoder":
        return load_model(field, choose_model(field, self._models), self._adapters, self._device)

    def _once(self, kind: str, name: str, make: Callable[[], T]) -> T:
        """What ``make`` made at the first call for this name; others wait meanwhile."""
        with self._lock:
            lock = self._locks.setdefault((kind, name), threading.Lock())
        with lock:
            if (kind, name) not in self._made:
                self._made[kind, name] = make()
            made: T = self._made[kind, name]
            return made

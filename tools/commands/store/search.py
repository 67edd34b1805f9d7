"""``keyclip store search``: the captions nearest to a text or a key."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import store
from store.common.errors import ConfigError, MissingKeysError
from store.common.settings import AtLeastOne
from tools.commands.store.base import FieldConfig, open_gallery
from tools.query.encoding import load_model
from tools.query.printing import printable, progress_bar
from tools.query.search import Engine, Search

SHOWN = 160


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(FieldConfig):
    """Find the vectors nearest to a text or to a stored vector, by cosine, exactly: every vector is compared.

    The field is read once, piece by piece, for all queries together, so that memory stays bounded. The model that made
    the field encodes the texts. With --shards the captions of the neighbours are shown.

    Example:
        keyclip store search cc3m.store --field minilm/captions.0 --text "a dog on a beach" --shards 'cc3m/*.tar'
        keyclip store search cc3m.store --field minilm/captions.0 --key 000000003 --k 20
    """

    text: tuple[str, ...] = ()
    """Texts to search for."""
    key: tuple[str, ...] = ()
    """Sample keys whose vectors to search for; a key is not its own neighbour."""
    k: AtLeastOne = 10
    """How many neighbours."""
    shards: tuple[str, ...] = ()
    """Local shards with the captions: paths, globs, brace ranges, or @FILE."""
    model: str | None = None
    """Folder or hub id of the field's model, for --text; needed if the model came from a folder."""
    adapters: tuple[str, ...] = ()
    """Adapters of a decoder LLM, for --text: folders or hub ids; by default the hub ids that the field names."""
    device: str = "auto"
    """Where the model runs: cuda, cuda:1, mps or cpu."""
    engine: Engine = "numpy"
    """What compares vectors; faiss (keyclip[faiss]) is quicker with many queries on many cores."""

    def __post_init__(self) -> None:
        if not self.text and not self.key:
            raise ConfigError("nothing to search for; give --text or --key")
        if any(not text.strip() for text in self.text):
            raise ConfigError("--text is empty or blank; give some words")


def run(config: Config) -> None:
    """Search and print the hits."""
    field = config.open_field()
    search = Search(field, engine=config.engine, progress=progress_bar(config.json))
    gallery = open_gallery(config.shards, config.json)
    queries = [{"text": text} for text in config.text] + [{"key": key} for key in config.key]
    found = search.nearest(_vectors(config, field), config.k + bool(config.key))
    answers: list[dict[str, Any]] = []
    for query, hits in zip(queries, found, strict=True):
        described = [
            {"key": hit.key, "similarity": round(hit.similarity, 6)}
            | ({"caption": gallery.caption(hit.key, field.spec.caption_field)} if gallery is not None else {})
            for hit in hits
            if hit.key != query.get("key")
        ]
        answers.append(query | {"hits": described[: config.k]})
    if config.json:
        print(json.dumps({"field": field.name, "queries": answers}))
        return
    for answer in answers:
        _show(answer)


def _vectors(config: Config, field: store.Field) -> NDArray[np.float32]:
    """The queries' vectors (Q, D): texts first."""
    found = field.contains(config.key)
    if not found.all():
        absent = config.key[int(np.argmin(found))]
        raise MissingKeysError(f"key {absent[:100]!r} has no vector in field {field.name!r}")
    by_key = field.get(config.key, dtype="float32")
    if not config.text:
        return by_key
    return np.concatenate([load_model(field, config.model, config.adapters, config.device).encode(config.text), by_key])


def _show(answer: dict[str, Any]) -> None:
    sought = repr(answer["text"])[:SHOWN] if "text" in answer else f"key {printable(answer['key'])}"
    print(f"nearest to {sought}")
    for place, hit in enumerate(answer["hits"], start=1):
        caption = printable((hit.get("caption") or "")[:SHOWN])
        print(f"  {place:>3}  {hit['similarity']:.4f}  {printable(hit['key'])}  {caption}".rstrip())

"""Evaluation sets that lie in webdataset shards, captions or labels beside each image; CLIP_benchmark's among them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from store.common.errors import CaptionFieldError, ConfigError
from store.sources.shards import iter_samples, load_json
from trainer.evaluation.sets.annotations import Annotations, lines_in, read_text
from trainer.evaluation.sets.definition import Definition
from trainer.evaluation.sets.images import shards_of


def webdataset(definition: Definition) -> Annotations:
    """Captions of each sample: the lines of a text member, or a caption or list of captions in its json."""
    annotations = Annotations()
    for key, value, where in member_values(
        shards_of(definition.images, definition.split or "test"), definition.captions
    ):
        texts = lines_in(value) if isinstance(value, str) and definition.captions.startswith(".") else value
        if isinstance(texts, str):
            texts = [texts]
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ConfigError(
                f"{where}: {definition.captions!r} holds {value!r:.80}; expected a caption or a list of them"
            )
        for text in texts:
            annotations.add(key, text)
    return annotations


def member_values(shards: Sequence[str], path: str) -> Iterator[tuple[str, Any, str]]:
    """``(sample key, value, where it stands)`` of every sample: the text of member ``.txt``, or what the json holds at
    ``caption`` or ``kind.name``.

    Raises:
        CaptionFieldError: a sample has no such member or value.
    """
    extension = path[1:].lower() if path.startswith(".") else "json"
    for shard in tqdm(shards, "read shards", unit="shard", leave=False, disable=len(shards) < 2):
        for key, members in iter_samples(shard, [extension]):
            where = f"sample {key!r} of shard {shard!r}"
            if extension not in members:
                raise CaptionFieldError(f"{where} has no .{extension} member")
            if path.startswith("."):
                yield key, members[extension].decode("utf-8", errors="replace"), where
            else:
                yield key, _at(load_json(members[extension], key, shard), path, where), where


def _at(value: Any, path: str, where: str) -> Any:
    for part in path.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise CaptionFieldError(f"{where}: its json has nothing at {path!r}")
    return value


def lines_of(folder: Path, name: str) -> list[str] | None:
    """The lines of a file of a CLIP_benchmark folder, or None where there is no such file."""
    file = folder / name
    if not file.is_file():
        return None
    return [line.strip() for line in lines_in(read_text(file, "a line for each class or template")) if line.strip()]

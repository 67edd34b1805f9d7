"""Shards of evaluation sets: captions or labels next to each image, also in folders as CLIP_benchmark makes them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from store.common.errors import CaptionFieldError, ConfigError
from store.sources.shards import expand_shards, iter_samples, load_json
from trainer.evaluation.sets.annotations import read_lines
from trainer.evaluation.sets.definition import Definition


def shards_of(sources: Sequence[str], split: str) -> list[str]:
    """Shards, or the shards of CLIP_benchmark folders: ``SPLIT/0.tar`` to as many as ``SPLIT/nshards.txt`` says."""
    shards: list[str] = []
    for source in sources:
        if not Path(source).is_dir():
            shards.append(source)
            continue
        file = Path(source) / split / "nshards.txt"
        try:
            count = int(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{str(file)!r} cannot be read ({error}); expected CLIP_benchmark's layout: SPLIT/nshards.txt next to "
                "SPLIT/0.tar, SPLIT/1.tar, ..."
            ) from error
        shards += [str(Path(source) / split / f"{i}.tar") for i in range(count)]
    return expand_shards(shards)


def lines_of(definition: Definition, name: str) -> list[str]:
    """The lines of a file in a set's CLIP_benchmark folder; none where there is no such folder or file."""
    folder = next((Path(source) for source in definition.images if Path(source).is_dir()), None)
    if folder is None or not (folder / name).is_file():
        return []
    return read_lines(folder / name, "a line for each class or template")


def member_values(shards: Sequence[str], path: str) -> Iterator[tuple[str, Any, str]]:
    """``(sample key, value, name of the sample in errors)`` of every sample: the text of member ``.txt``, or the value
    at ``caption`` or ``kind.name`` in the json. Raises: CaptionFieldError: a sample has none.
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

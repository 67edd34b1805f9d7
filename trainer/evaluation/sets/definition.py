"""Definitions of evaluation sets: a YAML file that names each set, its layout and its files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from store.common.errors import ConfigError
from store.common.files import read_text
from store.common.pipes import refuse_pipes
from store.common.settings import Count, settings_of
from store.common.yaml_text import load_yaml


@dataclass(frozen=True, kw_only=True, slots=True)
class Definition:
    """One set of the YAML file; see docs/evaluation.md for the layouts and what each needs."""

    name: str
    """Name of the set in tables; first part of the keys of its captions and prompts in the store."""
    layout: str
    """Layout of its files."""
    annotations: tuple[Path, ...] = ()
    """Annotation files or folders of a retrieval set."""
    images: tuple[str, ...] = ()
    """Image folders, or webdataset shards (paths, globs, brace ranges), or the folder of a CLIP_benchmark set."""
    split: str | None = None
    """Split to read, where the annotations hold several."""
    only: Path | None = None
    """Keep these images: a text file with one file name or id a line, or a Karpathy json (its images of --split). For
    class folders: lines CLASS/IMAGE, with or without suffix."""
    limit: Count | None = None
    """Read the first so many images."""
    languages: tuple[str, ...] = ()
    """Languages to read; all by default."""
    captions: str = ".txt"
    """Webdataset: the text member with one caption a line, or the path of a caption or list of captions in the json."""
    label: str = ".cls"
    """Classification shards: the text member or the path in the json that holds the label."""
    classes: str | None = None
    """Classification: a classes file, or the name of one that comes with keyclip, such as food101."""
    primary: Literal["top1", "mean_per_class"] | None = None
    """Classification: the accuracy that papers report; by default as the classes file says, else top1."""
    table: Literal["zeroshot", "robustness"] | None = None
    """Classification: the table and average that the set belongs to; by default as the classes file says, else
    zeroshot."""
    train: "Definition | None" = None
    """Classification: the train split for the linear probe, with the entries that differ from the set's own."""
    validation: "Definition | None" = None
    """Classification: the split that chooses the linear probe's regularisation; by default a part of ``train``."""
    missing: Literal["error", "skip"] = "error"
    """What to do about images that are not there: stop, or leave them out and say how many."""

    def annotation(self) -> Path:
        """The only annotation file. Raises: ConfigError: there is none, or there are several."""
        if len(self.annotations) != 1:
            raise ConfigError(
                f"set {self.name!r} ({self.layout}) takes one annotations path; it names {len(self.annotations)}"
            )
        return self.annotations[0]


_SPLITS = ("train", "validation")


def read_definitions(file: Path) -> list[Definition]:
    """Read ``{root: FOLDER, sets: {NAME: {layout: ..., ...}}}``; paths are relative to ``root``, by default the file's
    own folder.

    Raises:
        ConfigError: unreadable, no set, or a set with unknown, missing or wrong entries; names the set.
    """
    try:
        content = load_yaml(read_text(file, f"the evaluation sets {str(file)!r}"))
    except yaml.YAMLError as error:
        raise ConfigError(f"the evaluation sets {str(file)!r} cannot be read: {error}") from error
    sets = content.get("sets") if isinstance(content, Mapping) else None
    if not isinstance(sets, Mapping) or not sets:
        raise ConfigError(f"{str(file)!r} defines no evaluation set; expected 'sets:' with NAME: {{layout: ...}} in it")
    if unknown := set(content) - {"sets", "root"}:
        raise ConfigError(f"{str(file)!r} has {sorted(map(str, unknown))[0]!r} next to 'sets' and 'root'")
    root = file.parent / str(content.get("root") or ".")
    return [_definition(str(name), entries, root, file) for name, entries in sets.items()]


def _definition(name: str, entries: Any, root: Path, file: Path) -> Definition:
    where = f"set {name!r} of {str(file)!r}"
    if not name or name != name.strip() or "/" in name:
        raise ConfigError(f"{where}: a set's name is a word or more without '/'")
    if not isinstance(entries, Mapping) or not entries.get("layout"):
        raise ConfigError(f"{where} has no layout")
    settings = settings_of(Definition)
    if unknown := set(map(str, entries)) - (settings.keys() - {"name"}):
        there = ", ".join(sorted(settings.keys() - {"name"}))
        raise ConfigError(f"{where} has an unknown entry {min(unknown)!r}; there are {there}")
    refuse_pipes(entries, where)
    values: dict[str, Any] = {}
    for key, value in entries.items():
        if key in _SPLITS and value is not None:
            values[key] = _split(name, key, entries, root, file)
        elif value is not None:
            values[key] = _located(key, settings[key].from_value(value, where), root)
    return Definition(name=name, **values)


def _split(name: str, key: str, entries: Mapping[str, Any], root: Path, file: Path) -> Definition:
    """The definition of another split of a set: the set's entries, some of them replaced by the split's own."""
    own = entries[key]
    if not isinstance(own, Mapping) or not own or set(own) & set(_SPLITS):
        raise ConfigError(
            f"set {name!r} of {str(file)!r}: {key} is {own!r:.80}; expected the entries that differ from the set's, "
            "such as {images: FOLDER}, {only: LIST} or {split: train}"
        )
    shared = {entry: value for entry, value in entries.items() if entry not in _SPLITS}
    return _definition(name, shared | dict(own), root, file)


def _located(key: str, value: Any, root: Path) -> Any:
    """A value whose paths are below ``root``: URLs, lists of shards and the names of shipped classes are no paths."""
    if key == "only":
        return root / value
    if key == "annotations":
        return tuple(root / path for path in value)
    if key == "images":
        return tuple(path if path.startswith("@") or "://" in path else str(root / path) for path in value)
    if key == "classes" and ("/" in value or value.endswith(".json")):
        return str(root / value)
    return value

"""Classes of zero-shot tasks: a file that users edit, with names and prompt templates."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from typing_extensions import TypedDict

import store
from store.common.checked import read_json
from store.common.errors import ConfigError

SHIPPED = Path(__file__).parent / "classes"

Primary = Literal["top1", "mean_per_class"]
ClassTable = Literal["zeroshot", "robustness"]


class ClassesFile(TypedDict, total=False):
    """Content of a classes file; without ``of``, ``classes`` and ``templates`` are required."""

    of: str
    labels: list[str]
    classes: dict[str, list[str]]
    templates: list[str]
    label: str
    primary: Primary
    table: ClassTable


@dataclass(frozen=True, slots=True)
class Classes:
    """A zero-shot task.

    Attributes:
        label: path of the class's label in the samples' json.
        names: label of a class -> its names in prompts, one or more; in the order of label numbers.
        templates: prompts with ``{}`` for the name.
        primary: the accuracy that papers report for this set.
        table: the table, and so the average, that the set belongs to.
    """

    label: str
    names: dict[str, list[str]]
    templates: list[str]
    primary: str = "top1"
    table: str = "zeroshot"

    def prompts(self, set_name: str = "") -> Iterator[tuple[str, str, str]]:
        """``(label of the class, key in the store, prompt)`` of every prompt.

        Keys of a named evaluation set are SET/CLASS/HASH of the prompt: an edited prompt is a new one.
        """
        for label, names in self.names.items():
            for i, name in enumerate(names):
                for j, template in enumerate(self.templates):
                    prompt = template.replace("{}", name)
                    key = f"{set_name}/{label}/{store.caption_hash(prompt):016x}" if set_name else f"{label}/{i}/{j}"
                    yield label, key, prompt

    def texts(self, set_name: str) -> dict[str, str]:
        """The prompts by their key in the store."""
        return {key: prompt for _, key, prompt in self.prompts(set_name)}


def shipped_classes() -> list[str]:
    """The names of the class files that come with keyclip."""
    return sorted(file.stem for file in SHIPPED.glob("*.json"))


def find_classes(name: str | Path) -> Classes:
    """The classes of a file, or the classes that come with keyclip under this name, such as ``food101``."""
    file = Path(name) if Path(name).is_file() else SHIPPED / f"{name}.json"
    if not file.is_file():
        there = ", ".join(shipped_classes())
        raise ConfigError(f"the classes file {str(name)!r} cannot be read: no such file; give one, or one of {there}")
    return read_classes(file)


def read_classes(file: Path) -> Classes:
    """Read a :class:`ClassesFile`.

    ``{"of": "imagenet", "labels": [label, ...]}`` takes classes and templates from another file, all of its classes or
    the listed ones, in the other file's order; entries of the file itself replace the other file's.

    Raises:
        ConfigError: a label that the other file lacks, or a template without ``{}``.
        InvalidDataError: absent, or not of this form.
    """
    remedy = (
        'expected {"label": path in the json, "classes": {label: [name, ...]}, "templates": ["a photo of a {}.", ...]}'
        ', or {"of": NAME, "labels": [label, ...]}'
    )
    content = read_json(file, ClassesFile, "the classes file", remedy)
    other = find_classes(content["of"]) if content.get("of") else Classes("label", {}, [])
    listed = content.get("labels", list(other.names)) if other.names else []
    if absent := [label for label in listed if label not in other.names]:
        raise ConfigError(
            f"label {absent[0]!r} of {str(file)!r} is none of the {len(other.names)} of {content['of']!r}"
        )
    classes = Classes(
        content.get("label", other.label),
        content.get("classes") or {label: names for label, names in other.names.items() if label in set(listed)},
        content.get("templates", other.templates),
        content.get("primary", other.primary),
        content.get("table", other.table),
    )
    return checked(classes, str(file))


def checked(classes: Classes, where: str) -> Classes:
    """Raises: ConfigError: no class, no name or no template; a template without ``{}``."""
    if not classes.names or not classes.templates or not all(classes.names.values()):
        raise ConfigError(f"the classes file {where!r} needs at least one class, a name for each, and one template")
    if wrong := next((template for template in classes.templates if "{}" not in template), None):
        raise ConfigError(f"template {wrong!r} of {where!r} has no {{}} where the class name goes")
    return classes


def label_positions(classes: Classes, labels: Iterable[tuple[object, str]]) -> torch.Tensor:
    """Class positions (I,) int64 of labels, each given with the name of its place.

    A number is the position itself. A text is a label of the classes file or else, where that leaves no doubt, a label
    or name that differs in case, spaces and punctuation only (``F-16A_B`` for ``F-16A/B``).
    """
    exact = {label: i for i, label in enumerate(classes.names)}
    spellings: dict[str, set[int]] = {}
    for i, (label, called) in enumerate(classes.names.items()):
        for spelling in (label, *called):
            spellings.setdefault(_plain(spelling), set()).add(i)
    loose = {spelling: found.pop() for spelling, found in spellings.items() if len(found) == 1}
    positions = []
    for given, where in labels:
        if isinstance(given, int) and not isinstance(given, bool):
            position = given if 0 <= given < len(exact) else None
        else:
            position = exact.get(str(given), loose.get(_plain(str(given))))
        if position is None:
            raise ConfigError(f"label {given!r} of {where} is none of the {len(exact)} classes")
        positions.append(position)
    return torch.tensor(positions, dtype=torch.int64)


def is_called(text: str, entry: tuple[str, Sequence[str]]) -> bool:
    """Whether a text is the label or a name of an entry of ``Classes.names``, in whatever spelling."""
    label, names = entry
    return _plain(text) in map(_plain, (label, *names))


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())

"""Class prompts for zero-shot classification: a file that users edit, prompts that are embedded through the store."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

import store
from store.errors import ConfigError
from store.shards import caption_at
from trainer.evaluate import caption_features
from trainer.join import Join
from trainer.metrics import accuracy, class_ranks, classifier
from trainer.samples import ShardSamples

SHIPPED = Path(__file__).parent / "evalsets" / "classes"
PRIMARY = ("top1", "mean_per_class")


@dataclass(frozen=True, slots=True)
class Classes:
    """A zero-shot task.

    Attributes:
        label: path into the samples' json where the class's name stands.
        names: class, as in the labels -> what it is called in prompts, one or more; in the order of label numbers.
        templates: prompts with ``{}`` for the name.
        primary: the accuracy that papers report for this set, ``top1`` or ``mean_per_class``.
    """

    label: str
    names: dict[str, list[str]]
    templates: list[str]
    primary: str = "top1"

    def prompts(self, set_name: str = "") -> Iterator[tuple[str, str, str]]:
        """``(class name, sample key, prompt)`` of every prompt; the key is what the store knows it by.

        Prompts of a named evaluation set have keys SET/CLASS/HASH of their text: an edited prompt is a new one.
        """
        for label, names in self.names.items():
            for i, name in enumerate(names):
                for j, template in enumerate(self.templates):
                    prompt = template.replace("{}", name)
                    key = f"{set_name}/{label}/{store.caption_hash(prompt):016x}" if set_name else f"{label}/{i}/{j}"
                    yield label, key, prompt


def shipped_classes() -> list[str]:
    """The names of the class files that come with keyclip."""
    return sorted(file.stem for file in SHIPPED.glob("*.json"))


def find_classes(name: str | Path) -> Classes:
    """The classes of a file, or those that come with keyclip under this name, such as ``food101``.

    Raises:
        ConfigError: neither; names what there is.
    """
    shipped = SHIPPED / f"{name}.json"
    if not Path(name).is_file() and not shipped.is_file():
        there = ", ".join(shipped_classes())
        raise ConfigError(
            f"the classes file {str(name)!r} cannot be read: no such file; give one, or a name of {there}"
        )
    return read_classes(Path(name) if Path(name).is_file() else shipped)


def read_classes(file: Path) -> Classes:
    """Read ``{"classes": {label: [name, ...]}, "templates": ["a photo of a {}.", ...]}``, and with it, as needed,
    ``"label"``, the path of the label in the samples' json (``label``), and ``"primary"`` (``top1``).

    Raises:
        ConfigError: absent, not of this form, or a template without ``{}``.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        classes = Classes(
            str(content.get("label", "label")),
            {str(label): [str(name) for name in names] for label, names in content["classes"].items()},
            [str(template) for template in content["templates"]],
            str(content.get("primary", "top1")),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"the classes file {str(file)!r} cannot be read ({error!r}); expected "
            '{"label": path in the json, "classes": {label: [name, ...]}, "templates": ["a photo of a {}.", ...]}'
        ) from error
    return checked(classes, str(file))


def checked(classes: Classes, where: str) -> Classes:
    """Raises: ConfigError: no class, no name or no template; a template without ``{}``; an unknown primary accuracy."""
    if not classes.names or not classes.templates or not all(classes.names.values()):
        raise ConfigError(f"the classes file {where!r} needs at least one class, a name for each, and one template")
    if wrong := next((template for template in classes.templates if "{}" not in template), None):
        raise ConfigError(f"template {wrong!r} of {where!r} has no {{}} where the class name goes")
    if classes.primary not in PRIMARY:
        raise ConfigError(f"primary is {classes.primary!r} in {where!r}; expected {' or '.join(PRIMARY)}")
    return classes


def label_positions(classes: Classes, labels: Iterable[tuple[object, str]]) -> torch.Tensor:
    """Class positions (I,) int64 of labels that come with the place where they stand.

    A number is the position itself. A text is a label of the classes file or else, where that leaves no doubt, a label
    or name that differs in case, spaces and punctuation only (``F-16A_B`` for ``F-16A/B``).

    Raises:
        ConfigError: a label is none of the classes.
    """
    exact = {label: i for i, label in enumerate(classes.names)}
    loose = _loose_positions(classes.names)
    positions = []
    for label, where in labels:
        if isinstance(label, int) and not isinstance(label, bool):
            position = label if 0 <= label < len(exact) else None
        else:
            position = exact.get(str(label), loose.get(_plain(str(label))))
        if position is None:
            raise ConfigError(f"label {label!r} of {where} is none of the {len(exact)} classes")
        positions.append(position)
    return torch.tensor(positions, dtype=torch.int64)


def _loose_positions(names: Mapping[str, list[str]]) -> dict[str, int]:
    """Plain spellings of labels and names, those left out that stand for several classes."""
    found: dict[str, set[int]] = {}
    for position, (label, called) in enumerate(names.items()):
        for spelling in (label, *called):
            found.setdefault(_plain(spelling), set()).add(position)
    return {spelling: positions.pop() for spelling, positions in found.items() if len(positions) == 1}


def is_called(text: str, entry: tuple[str, Sequence[str]]) -> bool:
    """Whether a text is the label or a name of an entry of ``Classes.names``, in whatever spelling."""
    label, names = entry
    return _plain(text) in map(_plain, (label, *names))


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())


def class_vectors(classes: Classes, join: Join, adapter: nn.Module | None, set_name: str = "") -> torch.Tensor:
    """Class vectors by prompt ensembling, (N, E), from the stored prompts of :meth:`Classes.prompts`.

    Raises:
        MissingKeysError: a prompt has no vector in the join's field.
    """
    prompts = list(classes.prompts(set_name))
    features = caption_features(join, [key for _, key, _ in prompts], adapter)[0]
    rows: dict[str, list[int]] = {name: [] for name in classes.names}
    for i, (label, *_) in enumerate(prompts):
        rows[label].append(i)
    return classifier({name: features[places] for name, places in rows.items()})


def sample_labels(classes: Classes, samples: ShardSamples) -> torch.Tensor:
    """Class positions (I,) of samples, from their json. Raises: ConfigError: a label is none of the classes."""
    labels = ((caption_at(samples.json(i), classes.label), samples.where(i)) for i in range(len(samples)))
    return label_positions(classes, labels)


def zero_shot(
    classes: Classes, join: Join, adapter: nn.Module | None, samples: ShardSamples, image_IE: torch.Tensor
) -> dict[str, float]:
    """Top-1, top-5 and mean-per-class accuracy of the samples' labels; see ``metrics.accuracy``.

    Raises:
        MissingKeysError: a prompt has no vector in the join's field.
        ConfigError: a sample's label is none of the classes.
    """
    label_I = sample_labels(classes, samples)
    ranks = class_ranks(image_IE, class_vectors(classes, join, adapter), label_I)
    return accuracy(ranks, label_I) | {"num_classes": len(classes.names)}

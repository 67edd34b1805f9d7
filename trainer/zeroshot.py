"""Class prompts for zero-shot classification: a file that users edit, prompts that are embedded through the store."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from store.errors import ConfigError
from store.shards import caption_at
from trainer.adapter import Adapter
from trainer.evaluate import caption_features
from trainer.join import Join
from trainer.metrics import accuracy, classifier
from trainer.samples import ShardSamples


@dataclass(frozen=True, slots=True)
class Classes:
    """A zero-shot task.

    Attributes:
        label: path into the samples' json where the class's name stands.
        names: class name, as in the labels -> what it is called in prompts, one or more.
        templates: prompts with ``{}`` for the name.
    """

    label: str
    names: dict[str, list[str]]
    templates: list[str]

    def prompts(self) -> Iterator[tuple[str, str, str]]:
        """``(class name, sample key, prompt)`` of every prompt; the key is what the store knows it by."""
        for label, names in self.names.items():
            for i, name in enumerate(names):
                for j, template in enumerate(self.templates):
                    yield label, f"{label}/{i}/{j}", template.replace("{}", name)


def read_classes(file: Path) -> Classes:
    """Read ``{"label": path, "classes": {label: [name, ...]}, "templates": ["a photo of a {}.", ...]}``.

    Raises:
        ConfigError: absent, not of this form, or a template without ``{}``.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        classes = Classes(
            str(content["label"]),
            {str(label): [str(name) for name in names] for label, names in content["classes"].items()},
            [str(template) for template in content["templates"]],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"the classes file {str(file)!r} cannot be read ({error!r}); expected "
            '{"label": path in the json, "classes": {label: [name, ...]}, "templates": ["a photo of a {}.", ...]}'
        ) from error
    if not classes.names or not classes.templates or not all(classes.names.values()):
        raise ConfigError(f"the classes file {str(file)!r} needs at least one class, a name for each, and one template")
    if wrong := next((template for template in classes.templates if "{}" not in template), None):
        raise ConfigError(f"template {wrong!r} of {str(file)!r} has no {{}} where the class name goes")
    return classes


def zero_shot(
    classes: Classes, join: Join, adapter: Adapter | None, samples: ShardSamples, image_IE: torch.Tensor
) -> dict[str, float]:
    """Top-1 and top-5 accuracy of the samples' labels; see ``metrics.accuracy``.

    Raises:
        MissingKeysError: a prompt has no vector in the join's field.
        ConfigError: a sample's label is none of the classes.
    """
    prompts = list(classes.prompts())
    features = caption_features(join, [key for _, key, _ in prompts], adapter)[0]
    by_class = {name: features[[i for i, (label, *_) in enumerate(prompts) if label == name]] for name in classes.names}
    positions = {name: i for i, name in enumerate(classes.names)}
    labels = []
    for i in range(len(samples)):
        label = caption_at(samples.json(i), classes.label)
        if label not in positions:
            raise ConfigError(f"label {label!r} of {samples.where(i)} is none of the {len(positions)} classes")
        labels.append(positions[label])
    return accuracy(image_IE, classifier(by_class), torch.tensor(labels))

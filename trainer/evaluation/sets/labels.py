"""Classification sets: images with labels in folders named after classes, in shards, or in CLIP_benchmark's layout."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from store.common.errors import ConfigError
from trainer.data.samples import ShardSamples
from trainer.evaluation.sets.annotations import has_image_suffix, read_lines, stem
from trainer.evaluation.sets.class_names import Classes, checked, find_classes, is_called, label_positions
from trainer.evaluation.sets.definition import Definition
from trainer.evaluation.sets.images import FolderImages, Images, ImageSubset
from trainer.evaluation.sets.shards import lines_of, member_values, shards_of

Labelled = tuple[Images, list[tuple[object, str]]]
"""Images; and of each its label, with the name of its place for errors."""


def classes_of(definition: Definition) -> Classes:
    """The classes of a set: the file that it names, else its CLIP_benchmark folder's ``classnames.txt``, in the order
    of the label numbers, and ``zeroshot_classification_templates.txt``, with ``{c}`` for the name.
    """
    own = lines_of(definition, "classnames.txt") if definition.layout == "clip-benchmark" else []
    if definition.classes is not None:
        classes = find_classes(definition.classes)
        classes = _in_order_of(own, classes, definition) if own else classes
    else:
        templates = lines_of(definition, "zeroshot_classification_templates.txt") if own else []
        if not templates:
            raise ConfigError(
                f"set {definition.name!r} names no classes file, and its folder holds no classnames.txt with "
                "zeroshot_classification_templates.txt; name one with 'classes'"
            )
        names = {str(i): [name] for i, name in enumerate(own)}
        classes = checked(Classes("label", names, [t.replace("{c}", "{}") for t in templates]), definition.images[0])
    return replace(classes, primary=definition.primary or classes.primary, table=definition.table or classes.table)


def _in_order_of(own: list[str], classes: Classes, definition: Definition) -> Classes:
    """The classes in the order of the set's own label numbers."""
    # where they have that order already, names that several classes have (ImageNet's "missile") do no harm
    if len(own) == len(classes.names) and all(map(is_called, own, classes.names.items())):
        return classes
    try:
        positions = label_positions(classes, [(name, "classnames.txt") for name in own]).tolist()
    except ConfigError as error:
        raise ConfigError(
            f"set {definition.name!r}: the classes file and the set's classnames.txt differ: {error}; leave out "
            "'classes' to use the set's own names, or write a classes file with these labels"
        ) from error
    labels = list(classes.names)
    names = {labels[i]: classes.names[labels[i]] for i in positions}
    if len(names) < len(own):
        raise ConfigError(f"set {definition.name!r}: several lines of classnames.txt are the same class")
    return replace(classes, names=names)


def class_folders(definition: Definition) -> Labelled:
    """Images in folders named after classes (``apple_pie/123.jpg``, ``a/abbey/1.jpg``), or in the layout
    ``number-folders`` by the number of the class, as ImageNet-V2's (``0/1.jpeg`` to ``999/1.jpeg``).
    """
    files: list[Path] = []
    names: list[str] = []
    labels: list[tuple[object, str]] = []
    listed = _listed(definition)
    for root in map(Path, definition.images):
        if not root.is_dir():
            raise ConfigError(f"no such image folder: {str(root)!r} (set {definition.name!r})")
        for folder, file in _image_files(root):
            if listed is not None and not listed.pop(f"{folder}/{file.stem}", None):
                continue
            where = f"folder {folder!r} in {str(root)!r}"
            if definition.layout == "number-folders" and not folder.isdecimal():
                raise ConfigError(f"{where} is not the number of a class")
            files.append(file)
            names.append(str(file.relative_to(root)))
            labels.append((int(folder) if definition.layout == "number-folders" else folder, where))
    if listed and definition.missing == "error":
        raise ConfigError(
            f"{len(listed)} images that {str(definition.only)!r} lists are not in {', '.join(definition.images)}, "
            f"first {next(iter(listed.values()))!r} (set {definition.name!r}); check 'images' and 'only'"
        )
    if not files:
        raise ConfigError(f"set {definition.name!r}: {', '.join(definition.images)} holds no image in a class folder")
    return FolderImages(files, names), labels


def _listed(definition: Definition) -> dict[str, str] | None:
    """CLASS/IMAGE without suffix -> the line of ``only``; None without it. SUN397's lines begin with a slash."""
    if definition.only is None:
        return None
    lines = read_lines(definition.only, "a list of images, CLASS/IMAGE a line")
    return {stem(line.removeprefix("/")): line for line in lines}


def _image_files(root: Path) -> Iterator[tuple[str, Path]]:
    """(folder below the root, file) of every image that lies in a folder, sorted."""
    for folder, subfolders, files in os.walk(root):
        subfolders.sort()
        for file in sorted(files):
            if Path(folder) != root and has_image_suffix(file) and not file.startswith("."):
                yield Path(folder).relative_to(root).as_posix(), Path(folder) / file


def class_shards(definition: Definition) -> Labelled:
    """Shards with a label next to each image: in a member ``.cls`` (a number), in a text member, or in the json."""
    shards = shards_of(definition.images, definition.split or "test")
    samples = ShardSamples(shards)
    position = {key.decode(): i for i, key in enumerate(samples.keys)}
    positions, labels = [], []
    for key, value, where in member_values(shards, definition.label):
        if key in position:
            positions.append(position[key])
            labels.append((_label(value, definition.label, where), where))
    return ImageSubset(samples, positions), labels


def _label(value: object, member: str, where: str) -> object:
    if member != ".cls":
        return value.strip() if isinstance(value, str) else value
    try:
        return int(str(value))
    except ValueError:
        raise ConfigError(f"the .cls member of {where} holds {value!r:.40}; expected the number of a class") from None


READERS: dict[str, Callable[[Definition], Labelled]] = {
    "class-folders": class_folders,
    "number-folders": class_folders,
    "class-shards": class_shards,
}
"""Layout -> reader."""

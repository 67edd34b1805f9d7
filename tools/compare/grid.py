"""What a comparison varies beyond its arms: base models, caption embedders and data sizes, in every combination."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import PurePath

from store.common.errors import ConfigError

_NAMED = re.compile(r"([A-Za-z0-9][\w.-]*)=(.+)")


@dataclass(frozen=True, slots=True)
class Point:
    """One combination, at which all arms are trained and evaluated.

    Attributes:
        clip, teacher: the CLIP, and the first part of the field names of its own text features.
        model, embedder: the caption embedder (None where the store holds all vectors), and the first part of its field
            names.
        num_samples: samples to fine-tune on, drawn anew for each seed; None for all.
        base: names the CLIP in results and folders; empty where there is only one.
        rest: the same for the embedder and the data size.
    """

    clip: str
    teacher: str
    model: str | None
    embedder: str
    num_samples: int | None
    base: str
    rest: tuple[str, ...]

    @property
    def base_folder(self) -> PurePath:
        """Where CLIP itself has its result, relative to the comparison's folder."""
        return PurePath(self.base)

    @property
    def folder(self) -> PurePath:
        """Where the arms of this point are, relative to the comparison's folder."""
        return PurePath(self.base, *(name.replace(" ", "-") for name in self.rest))

    def title(self, arm: str, of_clip: bool) -> str:
        """What a result is called: ``ProCLIP, vitb32, 1000 samples``; CLIP as it is depends on the base model only."""
        return ", ".join(filter(None, [arm, self.base, *(() if of_clip else self.rest)]))


def make_grid(
    clips: Sequence[str], models: Sequence[str], embedders: Sequence[str], teacher: str, sizes: Sequence[int]
) -> list[Point]:
    """Every combination, base models first.

    Args:
        clips: folders or hub ids; ``NAME=CLIP`` each where there are several, and NAME also names its teacher fields.
        models: embedders, as ``NAME=MODEL`` where there are several; empty where the store holds all vectors.
        embedders: names of the fields of embedders that are not named with their model.
        teacher: name of the teacher fields of a CLIP that is not named.
        sizes: numbers of samples; empty for all samples.

    Raises:
        ConfigError: several without names, a name that is given twice, or models that do not match the embedders.
    """
    bases = _named(clips, (teacher,), "clip")
    texts = _named(models, embedders, "model") if models else [(name, None) for name in embedders]
    numbers: Sequence[int | None] = sizes or [None]
    points = []
    for (prefix, clip), (embedder, model), size in product(bases, texts, numbers):
        base = prefix if len(bases) > 1 else ""
        rest = (embedder if len(texts) > 1 else "", f"{size} samples" if len(sizes) > 1 else "")
        points.append(Point(clip, prefix, model, embedder, size, base, tuple(filter(None, rest))))
    return points


def _named(words: Sequence[str], defaults: Sequence[str], setting: str) -> list[tuple[str, str]]:
    found = [(match[1], match[2]) if (match := _NAMED.fullmatch(word)) else ("", word) for word in words]
    if len(found) == 1 and not found[0][0]:
        if len(defaults) > 1:
            raise ConfigError(f"one {setting} has no {len(defaults)} names ({', '.join(defaults)}); give one of them")
        return [(defaults[0], found[0][1])]
    names = [name for name, _ in found]
    if "" in names or len(set(names)) < len(names):
        raise ConfigError(f"several {setting}s need a name each, as NAME={words[0]}; got {', '.join(words)}")
    return found

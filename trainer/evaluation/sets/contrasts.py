"""Sets that ask which of two matches: SugarCrepe's captions with hard negatives, MMVP-VLM's pairs of images."""

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from typing_extensions import TypedDict

from store.common.checked import read_json
from store.common.errors import ConfigError
from trainer.evaluation.sets.annotations import read_text
from trainer.evaluation.sets.definition import Definition
from trainer.evaluation.sets.images import Images, find_images, wanted_images

SUGARCREPE = ("add_obj", "add_att", "replace_obj", "replace_att", "replace_rel", "swap_obj", "swap_att")
MMVP_PROMPT = "a photo of {}"


class Negative(TypedDict):
    """A sample of SugarCrepe's json files."""

    filename: str
    caption: str
    negative_caption: str


@dataclass(frozen=True, slots=True)
class Contrast:
    """A question with two answers.

    Attributes:
        kind: what the wrong answer changes.
        images: position of the image; or of two, each of which the text at the same place describes.
        texts: positions of two texts; of one image, the true text and the wrong one.
    """

    kind: str
    images: tuple[int, ...]
    texts: tuple[int, int]


@dataclass(slots=True)
class Contrasts:
    """The questions of a set.

    Attributes:
        images: names below the image folder.
        texts: ``(key, text)``; the key is unique within the set.
        questions: kind by kind, in the set's order.
    """

    images: list[str] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    questions: list[Contrast] = field(default_factory=list)
    _positions: dict[str, int] = field(default_factory=dict, repr=False)

    def add(self, kind: str, images: tuple[str, ...], texts: Mapping[str, str]) -> None:
        """Add a question: names of one or two images, and two texts by key."""
        first = len(self.texts)
        self.texts += texts.items()
        self.questions.append(Contrast(kind, tuple(self._position(name) for name in images), (first, first + 1)))

    def _position(self, name: str) -> int:
        if name not in self._positions:
            self._positions[name] = len(self.images)
            self.images.append(name)
        return self._positions[name]

    def by_kind(self) -> dict[str, list[Contrast]]:
        """The questions of each kind, in the set's order."""
        found: dict[str, list[Contrast]] = {}
        for question in self.questions:
            found.setdefault(question.kind, []).append(question)
        return found

    def kept(self, mask: list[bool]) -> "Contrasts":
        """Only the questions all of whose images have True in ``mask``, with their images and texts."""
        found = Contrasts()
        for question in self.questions:
            if all(mask[i] for i in question.images):
                names = tuple(self.images[i] for i in question.images)
                found.add(question.kind, names, dict(self.texts[i] for i in question.texts))
        return found


def sugarcrepe(definition: Definition) -> Contrasts:
    """The folder ``data`` with ``add_obj.json`` to ``swap_att.json``: ``{"0": {filename, caption, negative_caption}}``.

    The images are COCO's ``val2017``. Numbers may be missing from the json; keys in the store are KIND/NUMBER#caption
    and KIND/NUMBER#negative.
    """
    folder, contrasts = definition.annotation(), Contrasts()
    remedy = "give SugarCrepe's folder 'data', with add_obj.json to swap_att.json"
    for kind in SUGARCREPE:
        samples = read_json(folder / f"{kind}.json", dict[str, Negative], "SugarCrepe's file", remedy)
        for number, sample in samples.items():
            texts = {"caption": sample["caption"], "negative": sample["negative_caption"]}
            contrasts.add(
                kind, (sample["filename"],), {f"{kind}/{number}#{which}": text for which, text in texts.items()}
            )
    return contrasts


def mmvp(definition: Definition) -> Contrasts:
    """The folder with ``Questions.csv``: columns ``Question ID``, ``Type`` and ``Statement``, two lines for each pair.

    The images are ``MLLM_VLM Images/TYPE/ID.jpg``, the texts ``a photo of STATEMENT`` as in the published evaluation;
    the kind of a question is its type, one of nine visual patterns. Keys in the store are TYPE/ID.
    """
    file = definition.annotation() / "Questions.csv"
    expected = "MMVP-VLM's Questions.csv (columns Question ID, Type, Statement; two lines for each pair of images)"
    rows = list(csv.DictReader(io.StringIO(read_text(file, expected), newline="")))
    if not rows or not {"Question ID", "Type", "Statement"} <= set(rows[0]) or len(rows) % 2:
        columns = ", ".join(map(str, rows[0] if rows else ()))
        raise ConfigError(f"{str(file)!r} has {len(rows)} lines of columns {columns or 'none'}; expected {expected}")
    contrasts = Contrasts()
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        kind, names, texts = first["Type"], [], {}
        for row in (first, second):
            if not row["Statement"] or row["Type"] != kind:
                raise ConfigError(
                    f"question {row['Question ID']!r} of {str(file)!r} has no statement, or is of another type than "
                    f"the other half of its pair ({kind!r}); expected {expected}"
                )
            names.append(f"{kind}/{row['Question ID']}.jpg")
            texts[f"{kind}/{row['Question ID']}"] = MMVP_PROMPT.format(row["Statement"])
        contrasts.add(kind, tuple(names), texts)
    return contrasts


@dataclass(frozen=True, slots=True)
class ContrastLayout:
    """How a layout of such sets is read, and the table that its result belongs to."""

    read: Callable[[Definition], Contrasts]
    table: str


CONTRASTS = {
    "sugarcrepe": ContrastLayout(sugarcrepe, "composition"),
    "mmvp": ContrastLayout(mmvp, "fine_grained"),
}


def read_contrasts(definition: Definition) -> Contrasts:
    """The questions and texts of a set, of the first ``limit`` images where that is given.

    Raises:
        ConfigError, InvalidDataError: unreadable, of another layout, or empty.
    """
    contrasts = CONTRASTS[definition.layout].read(definition)
    if definition.limit is not None:
        contrasts = contrasts.kept([i < definition.limit for i in range(len(contrasts.images))])
    if not contrasts.questions:
        raise ConfigError(
            f"set {definition.name!r} ({definition.layout}) has no sample; check its annotations and limit"
        )
    return contrasts


@dataclass(frozen=True, slots=True)
class ContrastSet:
    """Images, and the questions about them; ``num_missing`` images were left out because they are not there."""

    images: Images
    contrasts: Contrasts
    num_missing: int


def open_contrasts(definition: Definition) -> ContrastSet:
    """Read a set and find its images; ``images`` may be the folder of the set itself for MMVP-VLM.

    Raises:
        ConfigError: images are missing and the set does not say ``missing: skip``; says how many, and the first.
    """
    contrasts, sources = read_contrasts(definition), _sources(definition)
    images, found = wanted_images(definition, sources, contrasts.images)
    if not found.all():
        contrasts = contrasts.kept(found.tolist())  # which may leave out the other image of a pair too
        images, _ = find_images(sources, contrasts.images)
    return ContrastSet(images, contrasts, int((~found).sum()))


def _sources(definition: Definition) -> tuple[str, ...]:
    folder = definition.annotation() / "MLLM_VLM Images"
    if definition.layout == "mmvp" and not definition.images:
        return (str(folder),)
    return definition.images

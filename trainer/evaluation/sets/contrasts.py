"""Sets that ask which of two matches: SugarCrepe's captions with hard negatives, MMVP-VLM's pairs of images."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from typing_extensions import TypedDict

from store.common.checked import read_json
from store.common.errors import ConfigError
from trainer.evaluation.sets.annotations import Annotations, Caption, read_text
from trainer.evaluation.sets.definition import Definition

SUGARCREPE = ("add_obj", "add_att", "replace_obj", "replace_att", "replace_rel", "swap_obj", "swap_att")
MMVP_PROMPT = "a photo of {}"  # as in the published evaluation


class Negative(TypedDict):
    """A sample of SugarCrepe's json files, which hold samples by number; numbers may be missing."""

    filename: str
    caption: str
    negative_caption: str


@dataclass(frozen=True, slots=True)
class Contrast:
    """A question with two answers, whose kind is what the wrong answer changes.

    It has the position of one image, and of its true and its wrong text; or the positions of two images, each of which
    the text at the same place describes.
    """

    kind: str
    images: tuple[int, ...]
    texts: tuple[int, int]


@dataclass(slots=True, kw_only=True)
class Contrasts(Annotations):
    """The questions of a set; its captions are all answers.

    Attributes:
        table: the table of the set's result, ``composition`` or ``fine_grained``.
    """

    table: str
    questions: list[Contrast] = field(default_factory=list)

    def ask(self, kind: str, images: Sequence[str], texts: Mapping[str, str]) -> None:
        """Add a question: names of one or two images, and two texts by key."""
        first = len(self.captions)
        self.captions += [Caption(key, text, ()) for key, text in texts.items()]
        places = tuple(self.positions.setdefault(name, len(self.positions)) for name in images)
        self.questions.append(Contrast(kind, places, (first, first + 1)))

    def by_kind(self) -> dict[str, list[Contrast]]:
        """The questions of each kind, in the set's order."""
        found: dict[str, list[Contrast]] = {}
        for question in self.questions:
            found.setdefault(question.kind, []).append(question)
        return found

    def kept(self, mask: Sequence[bool]) -> "Contrasts":
        """Only the questions all of whose images have True in ``mask``, with their images and texts."""
        found, names = Contrasts(table=self.table), self.images
        for question in self.questions:
            if all(mask[i] for i in question.images):
                texts = {self.captions[i].key: self.captions[i].text for i in question.texts}
                found.ask(question.kind, [names[i] for i in question.images], texts)
        return found


def sugarcrepe(definition: Definition) -> Contrasts:
    """The folder ``data``; the images are COCO's ``val2017``, the keys KIND/NUMBER#caption and KIND/NUMBER#negative."""
    contrasts = Contrasts(table="composition")
    remedy = "give SugarCrepe's folder 'data', with add_obj.json to swap_att.json"
    for kind in SUGARCREPE:
        file = definition.annotation() / f"{kind}.json"
        for number, sample in read_json(file, dict[str, Negative], "SugarCrepe's file", remedy).items():
            key = f"{kind}/{number}#"
            texts = {f"{key}caption": sample["caption"], f"{key}negative": sample["negative_caption"]}
            contrasts.ask(kind, [sample["filename"]], texts)
    return contrasts


def mmvp(definition: Definition) -> Contrasts:
    """The folder with ``Questions.csv``, two lines for each pair; the images are ``MLLM_VLM Images/TYPE/ID.jpg``.

    The kind of a question is its type, one of nine visual patterns; keys are TYPE/ID.
    """
    file = definition.annotation() / "Questions.csv"
    expected = "MMVP-VLM's Questions.csv (columns Question ID, Type, Statement; two lines for each pair of images)"
    rows = list(csv.DictReader(io.StringIO(read_text(file, expected), newline="")))
    if not rows or not {"Question ID", "Type", "Statement"} <= set(rows[0]) or len(rows) % 2:
        columns = ", ".join(map(str, rows[0] if rows else ()))
        raise ConfigError(f"{str(file)!r} has {len(rows)} lines of columns {columns or 'none'}; expected {expected}")
    contrasts = Contrasts(table="fine_grained")
    for pair in zip(rows[::2], rows[1::2], strict=True):
        kind = pair[0]["Type"]
        for row in pair:
            if not row["Statement"] or row["Type"] != kind:
                raise ConfigError(
                    f"question {row['Question ID']!r} of {str(file)!r} has no statement, or is of another type than "
                    f"the other half of its pair ({kind!r}); expected {expected}"
                )
        keys = [f"{kind}/{row['Question ID']}" for row in pair]
        texts = [MMVP_PROMPT.format(row["Statement"]) for row in pair]
        contrasts.ask(kind, [f"{key}.jpg" for key in keys], dict(zip(keys, texts, strict=True)))
    return contrasts


CONTRASTS: dict[str, Callable[[Definition], Contrasts]] = {"sugarcrepe": sugarcrepe, "mmvp": mmvp}
"""Layout -> reader."""

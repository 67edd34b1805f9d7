"""Words and phrases for single groups of objects, with synonyms drawn at random."""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from tools.scenes.scene import Group
from tools.scenes.vocabulary import COLOURS, NUMBERS, SHAPES, SIZES

T = TypeVar("T")


def one_of(random: Random, choices: Sequence[T]) -> T:
    """One of the choices, all equally likely."""
    return choices[random.randrange(len(choices))]


def mostly_first(random: Random, choices: Sequence[T]) -> T:
    """The first choice in two cases out of three, else one of the others."""
    return choices[0] if len(choices) == 1 or random.random() < 2 / 3 else one_of(random, choices[1:])


def noun(group: Group, random: Random) -> str:
    """The shape's word, in the plural for several: ``stars``, ``half moon``."""
    return mostly_first(random, SHAPES[group.shape].words)[group.count > 1]


def colour(group: Group, random: Random) -> str:
    """The colour's word: ``red`` or, less often, ``crimson``."""
    return mostly_first(random, COLOURS[group.colour].words)


def plain(group: Group, random: Random) -> str:
    """``red star`` or ``3 red stars``, as titles and tags put it."""
    name = f"{colour(group, random)} {noun(group, random)}"
    if group.count == 1:
        return name
    return f"{one_of(random, (NUMBERS[group.count], str(group.count)))} {name}" if random.random() < 0.6 else name


def counted(group: Group, random: Random) -> str:
    """``a large red star``, ``three small blue discs``: always with the number, the size now and then."""
    size = one_of(random, SIZES[group.size][1]) if random.random() < 0.5 else ""
    words = " ".join(word for word in (size, colour(group, random), noun(group, random)) if word)
    return f"{NUMBERS[group.count]} {words}" if group.count > 1 else article(words)


def article(words: str) -> str:
    """``an orange ring``, ``a ring``."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def capital(sentence: str) -> str:
    """The sentence with its first letter in upper case."""
    return sentence[:1].upper() + sentence[1:]


def join(words: Sequence[str]) -> str:
    """``red``, ``red and blue``, ``red, blue and green``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

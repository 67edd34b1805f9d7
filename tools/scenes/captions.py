"""Captions of a scene in the styles that web data and its recaptioned versions have.

* ``raw``: alt text as found on the web: terse, noisy, often incomplete, sometimes unrelated to the picture.
* ``short``: one sentence with the main thing, the second one and the backdrop (see ``Scene.signature``).
* ``long``: about 100 words. The main thing comes first; the things in the corners and the frame come at the end, far
  beyond the 77 tokens that CLIP reads.

Recaptions use words that alt text never does. ``style`` "SV" speaks plainly; "IB" uses other sentences.
"""

import re
from collections.abc import Sequence
from random import Random

from tools.scenes.scene import Scene
from tools.scenes.vocabulary import BACKGROUNDS, Thing

NOISE = 0.1  # share of alt texts that say nothing of the main thing
SYNONYMS = 0.5  # share of names in recaptions that alt text never uses

_KINDS = ("clipart", "vector", "icon", "drawing", "image", "sticker", "picture", "photo")
_ENDINGS = (" | free", " - download", " HD", "...", " png")
_STYLES = (
    "It is drawn in a flat and friendly style, with clean dark outlines around every object and without any shading.",
    "The artwork is simple and cheerful, as in a picture book for children, and all the outlines are crisp and dark.",
    "Everything is painted in bold, even tones with firm contours, which gives the whole composition a playful look.",
)
_MOODS = (
    "The overall impression is calm and uncluttered, and nothing is written anywhere.",
    "The arrangement leaves plenty of room, so the eye can wander freely from one side to the other.",
    "Although the composition is simple, it looks carefully balanced and pleasant.",
)


def raw(scene: Scene, random: Random) -> str:
    """Alt text such as ``puppy clipart | free``."""
    tag = _one_of(random, BACKGROUNDS[scene.background].tags)
    if random.random() < NOISE:
        return _one_of(random, (f"IMG_{random.randrange(9999)}", "free download", "click to enlarge", tag, "thumbnail"))
    things = [scene.main]
    things += [
        thing for thing, chance in ((scene.second, 0.5), (scene.third, 0.25)) if thing and random.random() < chance
    ]
    words = _one_of(random, (" and ", " with ", ", ")).join(_one_of(random, thing.words) for thing in things)
    kind = _one_of(random, _KINDS)
    frames = (words, f"{words} {kind}", f"{kind} of {words}", f"{words}, {tag}", f"{tag} - {words}")
    return _one_of(random, frames) + (_one_of(random, _ENDINGS) if random.random() < 0.15 else "")


def short(scene: Scene, random: Random, style: str) -> str:
    """One sentence that names exactly the parts of ``Scene.signature``."""
    place, main = _one_of(random, BACKGROUNDS[scene.background].phrases), _named(scene.main, random)
    if scene.second is not None:
        main = f"{main} {_one_of(random, ('near', 'beside', 'with', 'together with'))} {_named(scene.second, random)}"
    plain = (f"{main} {place}.", f"{place}, {main}.", f"there is {main} {place}.")
    other = (f"the image features {main} {place}.", f"we see {main}, {place}.")
    return _capital(_one_of(random, plain if style == "SV" else other))


def long(scene: Scene, random: Random, style: str) -> str:
    """A description of about 100 words whose last sentences name what no short caption names."""
    background = BACKGROUNDS[scene.background]
    main, place = _named(scene.main, random), _one_of(random, background.phrases)
    if style == "SV":
        first = _one_of(random, (f"the image shows {main} {place}.", f"{place}, this picture presents {main}."))
    else:
        first = f"{main} is the largest thing in this illustration, {place}."
    filler = [_one_of(random, _STYLES), _one_of(random, background.descriptions) + ".", _one_of(random, _MOODS)]
    filler.append("The principal object is on a white card in the middle and fills about a third of the picture.")
    return " ".join(
        _capital(sentence) for sentence in (first, *filler, *_corners(scene, random), _frame(scene, random))
    )


def _corners(scene: Scene, random: Random) -> list[str]:
    sentences = []
    for thing, corner in zip((scene.second, scene.third), scene.corners, strict=True):
        if thing is not None:
            what = _named(thing, random)
            frames = (f"the {corner} corner holds {what}.", f"tucked into the {corner} corner sits {what}, quite tiny.")
            sentences.append(_one_of(random, frames))
    return sentences or ["All the corners are empty."]


def _frame(scene: Scene, random: Random) -> str:
    if scene.frame is None:
        return _one_of(random, ("No border surrounds the picture.", "There is no frame."))
    return f"A thin {scene.frame} border runs along the edge."


def _named(thing: Thing, random: Random) -> str:
    """The thing with its article, by a word of alt text or by a synonym."""
    words = _one_of(random, thing.synonyms if random.random() < SYNONYMS else thing.words)
    if re.match("(what|where|our) ", words):
        return f"something, namely {words},"
    return f"{'an' if words[0].lower() in 'aeiou' else 'a'} {words}"


def _one_of(random: Random, choices: Sequence[str]) -> str:
    return choices[random.randrange(len(choices))]


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]

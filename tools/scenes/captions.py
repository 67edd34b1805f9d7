"""Captions of a scene in the styles that web data and its recaptioned versions have.

* ``raw``: alt text as found on the web; terse, noisy, often leaves things out.
* ``short``: one sentence with every group, its count, the relation and the backdrop (see ``Scene.signature``).
* ``long``: more than 80 words in several sentences, beyond the 77 tokens that CLIP reads. Sizes, textures, tilts, the
  small object in the corner, the frame and the shadows appear only here.

``style`` "SV" speaks plainly; "IB" puts the same facts into other sentences and another order.
"""

from random import Random

from tools.scenes.phrases import article, capital, counted, join, noun, one_of, plain
from tools.scenes.scene import ROUND, Group, Scene
from tools.scenes.vocabulary import BACKGROUNDS, NUMBERS, TEXTURES

MIN_LONG_WORDS = 81

_RELATIONS = {
    "left of": ("to the left of", "left of", "on the left of"),
    "right of": ("to the right of", "right of", "on the right of"),
    "above": ("above", "over", "higher up than"),
    "below": ("below", "underneath", "further down than"),
    "around": ("surrounded by", "in the middle of", "encircled by"),
    "inside": ("containing", "with, inside it,", "that encloses"),
}


def raw(scene: Scene, random: Random) -> str:
    """Alt text such as ``STAR, red - night sky wallpaper | freeclips``."""
    background = BACKGROUNDS[scene.background]
    main = plain(scene.main, random)
    tag = one_of(random, background.tags)
    if scene.second is not None and random.random() < 0.7:
        main += one_of(random, (" and ", " with ", ", ", " & ")) + plain(scene.second, random)
    roll = random.random()
    if roll < 0.3:
        text = f"{main} {one_of(random, ('clipart', 'vector', 'illustration', 'icon', 'drawing', 'image'))}, {tag}"
    elif roll < 0.45:
        text = f"{tag} {one_of(random, ('wallpaper', 'print', 'poster', 'stock photo'))} - {main}"
    elif roll < 0.6:
        text = f"{main} {one_of(random, background.phrases)}"
    elif roll < 0.75:
        text = short(scene, random, "SV").rstrip(".")
    elif roll < 0.9:
        text = main
    else:
        text = f"{scene.main.shape}, {scene.main.colour}, {tag}"
    if random.random() < 0.25:
        text += one_of(random, (" | freeclips", " - free download", " #{n}", " ({n}x{n})", " - page {n}", " HD", "..."))
    if random.random() < 0.12:
        text = f"{one_of(random, ('IMG_{n}', 'new!', 'buy', 'Fig. {n}:', 'cute'))} {text}"
    text = text.replace("{n}", str(random.randint(2, 4000)))
    return one_of(random, (text, text, text.lower(), text.title()))


def short(scene: Scene, random: Random, style: str) -> str:
    """One sentence that tells exactly ``Scene.signature``."""
    place = one_of(random, BACKGROUNDS[scene.background].phrases)
    main = counted(scene.main, random)
    many = scene.main.count > 1
    if scene.second is None:
        where = scene.arrangement.replace("side", one_of(random, ("side", "half")))
        frames: tuple[str, ...] = (
            (f"{main} {where}, {place}.", f"There {'are' if many else 'is'} {main} {where}, {place}.")
            if style == "SV"
            else (f"the image shows {main} {place}, {where}.", f"{place}, {where}, we see {main}.")
        )
        return capital(one_of(random, frames))
    relation = one_of(random, _RELATIONS[scene.arrangement])
    second = counted(scene.second, random)
    if style == "SV":
        verb = one_of(random, (" are", " lie") if many else (" is", " lies"))
        if scene.arrangement == "inside":
            verb = ""
        frames = (f"{main} {relation} {second} {place}.", f"{capital(place)}, {main}{verb} {relation} {second}.")
    else:
        frames = (
            f"the image features {main} {relation} {second}, {place}.",
            f"a picture {place}: {main} {relation} {second}.",
        )
    return capital(one_of(random, frames))


def long(scene: Scene, random: Random, style: str) -> str:
    """A description of more than 80 words."""
    overview = short(scene, random, style)
    details = [_detail(scene.main, random, True)]
    if scene.second is not None:
        details.append(_detail(scene.second, random, False))
    details.append(_corner(scene, random))
    setting = [one_of(random, BACKGROUNDS[scene.background].descriptions) + ".", _frame(scene, random)]
    setting.append(_shadows(scene, random))
    parts = [overview, *details, *setting] if style == "SV" else [setting[0], overview, *setting[1:], *details]
    parts.append(_total(scene, random))
    spare = list(_CLOSINGS)
    random.shuffle(spare)
    while len(" ".join(parts).split()) < MIN_LONG_WORDS:
        parts.append(spare.pop())
    return " ".join(capital(part) for part in parts)


def _detail(group: Group, random: Random, is_main: bool) -> str:
    texture = one_of(random, TEXTURES[group.texture])
    name, number = noun(group, random), "Both" if group.count == 2 else f"All {NUMBERS[group.count]}"
    size = {"large": "large", "medium": "medium-sized", "small": "small"}[group.size]
    if group.count > 1:
        return one_of(
            random,
            (
                f"The {name} are {size} and {texture}, and they {_formation(group)}.",
                f"{number} {name} look alike: {size}, {group.colour}, {texture}; they {_formation(group)}.",
            ),
        )
    share = {"large": "nearly half", "medium": "about a third", "small": "about a fifth"}[group.size]
    role = "the main thing to look at" if is_main else "less prominent"
    stance = {0: "stands upright", 24: "leans to the right", -24: "leans to the left"}[group.tilt]
    if group.shape in ROUND:
        stance = "is perfectly round"
    return one_of(
        random,
        (
            f"The {size} {name} is {texture}, {stance} and measures {share} of the picture's width.",
            f"With {share} of the picture's width the {name} is {size} and {role}; it is {texture} and {stance}.",
        ),
    )


def _formation(group: Group) -> str:
    if group.count == 2:
        (x, _), (u, _) = group.centres
        return "stand one above the other" if abs(x - u) < 0.01 else "stand side by side"
    if group.size == "small" and group.count > 3 and len({round(x, 3) for x, _ in group.centres}) > 2:
        return "form a circle"
    return "form a triangle" if group.count == 3 else "form a square block"


def _corner(scene: Scene, random: Random) -> str:
    if scene.extra is None:
        return one_of(random, ("All four corners are empty.", "Nothing else stands in any of the corners."))
    what = f"{one_of(random, ('tiny', 'very small'))} {scene.extra.colour} {noun(scene.extra, random)}"
    where = f"the {scene.extra_corner} corner"
    return one_of(
        random, (f"{article(what)} sits by itself in {where}.", f"In {where} one can also find {article(what)}.")
    )


def _frame(scene: Scene, random: Random) -> str:
    if scene.frame is None:
        return one_of(random, ("The picture has no frame.", "No frame has been drawn around the edge."))
    frame = article(f"thin {scene.frame} frame")
    return one_of(random, (f"{frame} runs along the edge.", f"The whole picture is bordered by {frame}."))


def _shadows(scene: Scene, random: Random) -> str:
    if scene.shadows:
        return one_of(
            random,
            (
                "Soft dark shadows fall to the lower right and make the objects seem to float.",
                "A blurred shadow beneath every object gives the scene some depth.",
            ),
        )
    return one_of(
        random, ("Nothing casts a shadow, so everything looks flat.", "There are no shadows at all, which looks flat.")
    )


def _total(scene: Scene, random: Random) -> str:
    groups = [group for group in (scene.main, scene.second, scene.extra) if group is not None]
    total = sum(group.count for group in groups)
    if total == 1:
        return "It is the only object."
    number = NUMBERS[total] if total < len(NUMBERS) else str(total)
    colours = join([group.colour for group in groups])
    return one_of(
        random, (f"In all there are {number} objects, coloured {colours}.", f"Whoever counts finds {number} objects.")
    )


_CLOSINGS = (
    "The edges are crisp and each outline is a darker shade of its own colour.",
    "The drawing is simple and clear, like an illustration in a book for young children.",
    "Empty space is left around the subject, so that the eye finds it at once.",
    "No person, animal or written word can be seen anywhere.",
    "The colours are strong and set the subject off from what lies behind it.",
    "The whole has the calm look of a cut-paper collage.",
)

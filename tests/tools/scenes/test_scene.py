"""Composition, pixels and language of single scenes agree with each other."""

import math
from random import Random

import pytest

from tools.scenes import captions
from tools.scenes.draw import render
from tools.scenes.scene import PAIRINGS, PLACES, Group, Scene, Theme, compose
from tools.scenes.vocabulary import BACKGROUNDS, COLOURS, NUMBERS, SHAPES

SCENES = [compose(Random(f"scene {number}"), Theme()) for number in range(400)]


def scene_of(main, second=None, background="white paper", arrangement="in the middle", **other):
    defaults = {"extra": None, "extra_corner": "", "frame": None, "shadows": False}
    return Scene(background, arrangement, main, second, **(defaults | other))


def one(shape, colour, size="large", centre=(0.5, 0.5), radius=0.25, texture="solid", tilt=0):
    return Group(shape, colour, size, texture, tilt, radius, (centre,))


def groups_of(scene):
    return [group for group in (scene.main, scene.second, scene.extra) if group is not None]


def test_everything_of_the_vocabulary_appears():
    assert {scene.arrangement for scene in SCENES} == {*PAIRINGS, *PLACES}
    assert {scene.background for scene in SCENES} == set(BACKGROUNDS)
    groups = [group for scene in SCENES for group in groups_of(scene)]
    assert {group.shape for group in groups} == set(SHAPES)
    assert {group.colour for group in groups} == set(COLOURS)
    assert {group.texture for group in groups} == {"solid", "striped", "dotted", "chequered"}
    assert {group.count for group in groups} == {1, 2, 3, 4, 5, 6, 7, 8}


def test_objects_stay_inside_the_picture_and_apart():
    for scene in SCENES:
        discs = [(x, y, group.radius) for group in groups_of(scene) for x, y in group.centres]
        assert all(r < share < 1 - r for x, y, r in discs for share in (x, y))
        if scene.arrangement != "inside":
            gaps = [math.hypot(a[0] - b[0], a[1] - b[1]) - a[2] - b[2] for i, a in enumerate(discs) for b in discs[:i]]
            assert all(gap >= 0 for gap in gaps)


def test_the_groups_of_a_scene_differ_in_shape_and_colour_and_from_the_background():
    for scene in SCENES:
        groups = groups_of(scene)
        assert len({group.shape for group in groups}) == len({group.colour for group in groups}) == len(groups)
        assert not {group.colour for group in groups} & BACKGROUNDS[scene.background].hides


def test_the_relation_in_the_caption_is_the_one_in_the_picture():
    for scene in SCENES:
        if scene.arrangement not in ("left of", "right of", "above", "below"):
            continue
        axis, sign = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}[scene.arrangement]
        main = [centre[axis] for centre in scene.main.centres]
        second = [centre[axis] for centre in scene.second.centres]
        assert all(sign * (m - s) > 0 for m in main for s in second)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_painted_in_its_colour_at_its_place(shape):
    centre = (0.3, 0.6)
    image = render(scene_of(one(shape, "red", centre=centre, radius=0.28)), 100, Random("0"))
    red = [
        (x, y)
        for x in range(100)
        for y in range(100)
        if all(abs(a - b) < 40 for a, b in zip(image.getpixel((x, y)), COLOURS["red"].rgb, strict=True))
    ]
    assert 250 < len(red) < 2300
    assert all(math.hypot(x - 30, y - 60) <= 29 for x, y in red)
    assert image.getpixel((90, 10)) > (240, 240, 240)


def test_a_frame_is_painted_on_the_edge_and_shadows_below_objects():
    main = one("square", "red")
    plain = render(scene_of(main), 128, Random("0"))
    framed = render(scene_of(main, frame="green"), 128, Random("0"))
    shaded = render(scene_of(main, shadows=True), 128, Random("0"))
    assert framed.getpixel((0, 30)) == COLOURS["green"].rgb
    below = (66, 89)  # the square's lower edge is at 64 + 128 * 0.25 * 0.72 = 87
    assert shaded.getpixel(below)[0] < 200 < plain.getpixel(below)[0]


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_every_background_fills_the_picture_and_varies_only_in_detail(background):
    scene = scene_of(one("star", "red" if "red" not in BACKGROUNDS[background].hides else "white"), None, background)
    image, other = (render(scene, 64, Random(seed)) for seed in "01")
    assert image.size == (64, 64)
    assert image.tobytes() != other.tobytes()
    difference = sum(abs(a - b) for a, b in zip(image.tobytes(), other.tobytes(), strict=True)) / len(image.tobytes())
    assert difference < 30


def words_for(group):
    shapes = [word for pair in SHAPES[group.shape].words for word in pair]
    return shapes, COLOURS[group.colour].words


@pytest.mark.parametrize("style", ["SV", "IB"])
def test_a_short_caption_tells_every_part_of_the_signature(style):
    for number, scene in enumerate(SCENES):
        caption = captions.short(scene, Random(str(number)), style)
        assert caption[0].isupper()
        assert caption.endswith(".")
        lower = caption.lower()
        assert any(phrase.lower() in lower for phrase in BACKGROUNDS[scene.background].phrases)
        for group in groups_of(scene)[: 2 if scene.second else 1]:
            shapes, colours = words_for(group)
            assert any(shape in lower for shape in shapes)
            assert any(colour in lower for colour in colours)
            assert group.count == 1 or NUMBERS[group.count] in lower


@pytest.mark.parametrize("style", ["SV", "IB"])
def test_a_long_caption_has_more_than_80_words_and_details_that_the_short_one_lacks(style):
    for number, scene in enumerate(SCENES):
        long = captions.long(scene, Random(str(number)), style)
        short = captions.short(scene, Random(str(number)), style)
        assert 80 < len(long.split()) < 200
        if scene.extra is not None:
            assert f"{scene.extra_corner} corner" in long
            assert f"{scene.extra_corner} corner" not in short
        if scene.frame is not None:
            assert f"thin {scene.frame} frame" in long


def test_captions_of_a_known_scene_read_as_written_by_hand():
    stars = Group("star", "yellow", "small", "solid", 0, 0.1, ((0.7, 0.4), (0.7, 0.6)))
    scene = scene_of(one("heart", "orange", centre=(0.28, 0.5)), stars, "grey wall", "left of")
    texts = {captions.short(scene, Random(str(seed)), "SV") for seed in range(5000)}
    assert "An orange heart to the left of two yellow stars in front of a grey wall." in texts
    assert "On a grey concrete wall, an orange heart is left of two yellow stars." in texts
    assert (scene.label, scene.object_label) == ("orange, grey wall", "orange heart")
    assert scene.signature == ("grey wall", "left of", 1, "orange", "heart", 2, "yellow", "star")


def test_alt_text_is_terse_varied_and_mostly_names_the_main_object():
    texts = [captions.raw(scene, Random(str(number))) for number, scene in enumerate(SCENES)]
    assert sum(len(text.split()) for text in texts) / len(texts) < 10
    assert len(set(texts)) > 390
    named = 0
    for scene, text in zip(SCENES, texts, strict=True):
        shapes, colours = words_for(scene.main)
        named += any(word in text.lower() for word in shapes) and any(word in text.lower() for word in colours)
    assert named == len(SCENES)

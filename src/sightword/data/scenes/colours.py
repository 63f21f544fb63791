"""The eleven basic colour words of English, measured from pixels."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "grey", "white")
MIXED = "multicoloured"  # no word has `_DOMINANT` of the pixels
_DOMINANT = 0.4
_BITS = 5  # of each channel, in the table from colours to words
# Where the hues of one word end, in degrees; what is left is red again.
_HUES = ((14, "red"), (42, "orange"), (68, "yellow"), (165, "green"), (255, "blue"), (300, "purple"), (345, "pink"))
# The hue that each word of a hue is shown by.
HUES = {"red": 0, "orange": 28, "yellow": 54, "green": 120, "blue": 215, "purple": 278, "pink": 325}


def words_of(rgb: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Places in COLOURS, of colours uint8 [..., 3]."""
    red, green, blue = np.moveaxis(rgb >> (8 - _BITS), -1, 0).astype(np.intp)
    return _table()[(red << 2 * _BITS) | (green << _BITS) | blue]


def shares(rgba: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Each word's share of what can be seen of a picture uint8 [H, W, 4]: float64 [11], of sum 1."""
    counts = np.bincount(
        words_of(rgba[..., :3]).ravel(), rgba[..., 3].ravel().astype(np.float64), minlength=len(COLOURS)
    )
    return counts / max(counts.sum(), 1.0)


def dominant(rgba: NDArray[np.uint8]) -> str:
    """The word of two pixels in five or more, or MIXED."""
    found = shares(rgba)
    best = int(found.argmax())
    return COLOURS[best] if found[best] >= _DOMINANT else MIXED


def sample(word: str, rng: np.random.Generator) -> tuple[int, int, int]:
    """A colour that `words_of` calls so."""
    choices = _colours_of()[word]
    packed = int(choices[rng.integers(len(choices))])
    jitter = rng.integers(0, 1 << (8 - _BITS), 3).tolist()
    mask = (1 << _BITS) - 1
    levels = (packed >> 2 * _BITS, (packed >> _BITS) & mask, packed & mask)
    red, green, blue = ((level << (8 - _BITS)) + extra for level, extra in zip(levels, jitter, strict=True))
    return red, green, blue


def tinted(picture: Image.Image, word: str) -> Image.Image:
    """An RGBA picture in the hue of a word of HUES; light and shade stay, and so do black lines and white lights."""
    alpha = picture.getchannel("A")
    hsv = np.asarray(picture.convert("RGB").convert("HSV")).copy()
    hue, saturation, value = hsv[..., 0], hsv[..., 1], hsv[..., 2]
    body = (saturation > 40) | ((value > 50) & (value < 235))
    hue[:] = round(HUES[word] * 255 / 360)
    saturation[body] = np.maximum(saturation[body], 165)
    value[body] = np.maximum(value[body], 110)
    done = Image.fromarray(hsv, "HSV").convert("RGB")
    done.putalpha(alpha)
    return done


@cache
def _table() -> NDArray[Any]:
    """The word of every colour of 5 bits a channel, by its middle."""
    levels = (np.arange(1 << _BITS) + 0.5) / (1 << _BITS)
    rgb = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    high, low = rgb.max(axis=1), rgb.min(axis=1)
    spread = high - low
    red, green, blue = rgb.T
    with np.errstate(divide="ignore", invalid="ignore"):
        sixth = np.where(
            high == red,
            (green - blue) / spread % 6,
            np.where(high == green, 2 + (blue - red) / spread, 4 + (red - green) / spread),
        )
    hue = np.nan_to_num(sixth) * 60
    saturation = spread / high
    found = np.full(len(rgb), COLOURS.index("red"))
    begin = 0
    for end, word in _HUES:
        found[(hue >= begin) & (hue < end)] = COLOURS.index(word)
        begin = end
    warm = (hue < 50) | (hue >= 345)
    # Brown is a dark orange, pink a light red.
    found[(hue >= 8) & (hue < 50) & (high < 0.68)] = COLOURS.index("brown")
    found[warm & (hue < 20) & (high < 0.5) & (saturation < 0.6)] = COLOURS.index("brown")
    found[((hue < 14) | (hue >= 300)) & (saturation < 0.5) & (high > 0.75)] = COLOURS.index("pink")
    grey = saturation < 0.14
    found[grey] = COLOURS.index("grey")
    found[grey & (high > 0.86)] = COLOURS.index("white")
    found[(high < 0.2) | (grey & (high < 0.25))] = COLOURS.index("black")
    return found


@cache
def _colours_of() -> dict[str, NDArray[np.intp]]:
    table = _table()
    return {word: np.flatnonzero(table == place) for place, word in enumerate(COLOURS)}

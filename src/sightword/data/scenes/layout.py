"""Where things stand: sizes, places and what hides what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sightword.data.scenes.sprites import Drawn, Sprites

# The longer side of a thing, as a share of the picture's side. Between two sizes is a gap, so that no word is arguable.
SHARES = {"small": (0.16, 0.24), "medium": (0.30, 0.42), "large": (0.52, 0.68)}
LEAST_VISIBLE = 0.5  # of a thing's pixels, whatever stands before it or is cut by the border
_OVER = 0.12  # of a thing may reach over the border
_TRIES = 12


def size_word(side: int, size: int) -> str:
    """What a thing of this longer side is called in a picture of this size; "" between two sizes."""
    for word, (low, high) in SHARES.items():
        if round(low * size) <= side <= round(high * size):
            return word
    return ""


class Placed(NamedTuple):
    """A drawing in a picture. sprite: its place in the sprites. side: its longer side, left, top: its corner, in
    pixels; the corner may lie outside. tint: the hue that it was given, or "". turn: degrees clockwise, after that."""

    sprite: int
    side: int
    flip: bool
    tint: str
    left: int
    top: int
    turn: int = 0

    def drawn(self, sprites: Sprites) -> Drawn:
        return sprites.drawn(self.sprite, self.side, self.flip, self.tint, self.turn)

    def centre(self, sprites: Sprites) -> tuple[float, float]:
        """Across and down, of its drawing."""
        width, height = self.drawn(sprites).picture.size
        return self.left + width / 2, self.top + height / 2

    def window(self, drawn: Drawn, size: int) -> tuple[slice, slice, NDArray[np.bool_]]:
        """Rows and columns of the picture that its drawing covers, and its mask there; empty where it lies outside."""
        height, width = drawn.mask.shape
        top, left = max(0, self.top), max(0, self.left)
        bottom, right = max(top, min(size, self.top + height)), max(left, min(size, self.left + width))
        mask = drawn.mask[top - self.top : bottom - self.top, left - self.left : right - self.left]
        return slice(top, bottom), slice(left, right), mask


def centred(
    sprites: Sprites, sprite: int, side: int, flip: bool, tint: str, across: float, down: float, turn: int = 0
) -> Placed:
    """A drawing with its centre there."""
    width, height = sprites.drawn(sprite, side, flip, tint, turn).picture.size
    return Placed(sprite, side, flip, tint, round(across - width / 2), round(down - height / 2), turn)


class Canvas:
    """Things that were put one before the other, with what is left of each."""

    def __init__(self, sprites: Sprites, size: int) -> None:
        self.sprites, self.size = sprites, size
        self.placed: list[Placed] = []
        self.instances = np.zeros((size, size), np.uint8)
        self._whole: list[int] = []  # pixels of each thing, outside of the picture too
        self._left = np.zeros(256, np.int64)  # of each that can be seen; by its number in `instances`

    def put(self, sprite: int, share: float, flip: bool, tint: str, rng: np.random.Generator) -> bool:
        """Whether a place was found at which this thing and those behind it stay visible."""
        side = max(2, round(share * self.size))
        drawn = self.sprites.drawn(sprite, side, flip, tint, 0)
        whole = int(drawn.mask.sum())
        height, width = drawn.mask.shape
        for across, down in rng.random((_TRIES, 2)).tolist():
            left = round(across * (self.size - width) + (across - 0.5) * 2 * _OVER * width)
            top = round(down * (self.size - height) + (down - 0.5) * 2 * _OVER * height)
            placed = Placed(sprite, side, flip, tint, left, top)
            rows, columns, mask = placed.window(drawn, self.size)
            seen = int(mask.sum())
            covered = np.bincount(self.instances[rows, columns][mask], minlength=256)
            after = self._left - covered
            enough = all(after[number] >= LEAST_VISIBLE * pixels for number, pixels in enumerate(self._whole, start=1))
            if enough and whole and seen >= LEAST_VISIBLE * whole:
                self.instances[rows, columns][mask] = len(self.placed) + 1
                self._left[1:] = after[1:]
                self.placed.append(placed)
                self._whole.append(whole)
                self._left[len(self.placed)] = seen
                return True
        return False


def paint(sprites: Sprites, placed: Sequence[Placed], size: int) -> NDArray[np.uint8]:
    """uint8 [size, size]: which thing is seen at each pixel, from 1 on; 0 where there is none."""
    instances = np.zeros((size, size), np.uint8)
    for number, thing in enumerate(placed, start=1):
        rows, columns, mask = thing.window(thing.drawn(sprites), size)
        instances[rows, columns][mask] = number
    return instances

"""What is done to the drawing of a sprite before it stands in a scene. A drawing is RGBA."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightword.data.images import flatten, open_image
from sightword.errors import ImageError

SOLID = 128  # from this alpha on, a pixel belongs to its thing
_WHITE = 250
_WHITE_BORDER = 0.2


def read_drawing(file: str, on_white: bool = False) -> Image.Image:
    """A file as RGBA, without its empty margins. on_white: its ground may be white, which is then cut away. Raises
    ImageError where it cannot be read, hides nothing, or shows nothing."""
    picture = open_image(file)
    opaque = picture.mode != "RGBA" or picture.getchannel("A").getextrema()[0] == 255
    if opaque and not on_white:
        raise ImageError(file, "has no transparency, and a sprite's shape is what is not transparent")
    if opaque or (on_white and _on_white(picture)):
        picture = cut_out(flatten(picture, (255, 255, 255)))
    box = picture.getchannel("A").point(lambda level: 255 * (level >= SOLID)).getbbox()
    if box is None:
        raise ImageError(file, "shows nothing: all of it is transparent")
    return picture.crop(box)


def _on_white(picture: Image.Image) -> bool:
    """A good part of its border is white: of some drawings, half of the ground is transparent and half white."""
    rgba = np.asarray(picture)
    border = np.concatenate((rgba[0], rgba[-1], rgba[:, 0], rgba[:, -1]))
    return bool((border.min(axis=1) >= _WHITE).mean() >= _WHITE_BORDER)


def cut_out(picture: Image.Image) -> Image.Image:
    """An RGB picture without the white that reaches its border.

    The pixels beside that white are mixtures with it: they become as transparent as they can be, in the colour that
    gives the same on white.
    """
    rgb = np.asarray(picture)
    outside = _reached(rgb.min(axis=2) >= _WHITE)
    rim = _spread(outside) & ~outside
    alpha = np.where(outside, 0.0, 1.0)
    alpha[rim] = 1 - rgb[rim].min(axis=1) / 255
    pure = 255 - (255 - rgb) / np.maximum(alpha, 1 / 255)[..., None]
    rgba = np.concatenate((np.where(rim[..., None], pure, rgb), 255 * alpha[..., None]), axis=2)
    return Image.fromarray(np.clip(np.round(rgba), 0, 255).astype(np.uint8))


def solid(picture: Image.Image) -> NDArray[np.bool_]:
    """The pixels of an RGBA picture that are its thing's, bool [H, W]."""
    return np.asarray(picture.getchannel("A")) >= SOLID


def _reached(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What of `inside` is joined to the border by it."""
    found = np.zeros_like(inside)
    found[[0, -1]], found[:, [0, -1]] = inside[[0, -1]], inside[:, [0, -1]]
    while True:
        more = _spread(found) & inside
        if (more == found).all():
            return found
        found = more


def _spread(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """With the four neighbours of each pixel."""
    more = mask.copy()
    more[1:] |= mask[:-1]
    more[:-1] |= mask[1:]
    more[:, 1:] |= mask[:, :-1]
    more[:, :-1] |= mask[:, 1:]
    return more

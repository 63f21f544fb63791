"""Bringing a picture to size several times faster than `ImageSpec.prepare` does, with nearly the same pixels.

Two things cost: decoding what the resize then throws away, and the resize. A JPEG is decoded at 1/2, 1/4 or 1/8 of its
size where that leaves at least twice the pixels that are needed in each direction. The resize is torch's, which has
Pillow's antialiased filters in vector instructions; where there is no torch, Pillow's. What a picture is scaled to and
where it is cropped follows from its own size, so that nothing shifts. A picture that is not reduced differs by rounding
alone, a small one not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightword.data.images import FILTERS, ImageLike, ImageSpec, Resample, flatten, is_strip, open_reduced

_SPARE = 2  # a reduced picture has at least so many times the pixels of the scaled one, in each direction
_SMALL = 256 * 256  # pixels up to which Pillow's own resize takes no time worth saving

Size: TypeAlias = tuple[int, int]
Resize: TypeAlias = Callable[[Image.Image, Size, Size, Resample], Image.Image]

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def prepare_fast(spec: ImageSpec, resize: Resize, image: ImageLike) -> NDArray[np.uint8]:
    """An image, as uint8 [size, size, 3]."""

    def scaled(size: tuple[int, int], orientation: int) -> tuple[int, int]:
        """As the file has the picture: EXIF's orientations from 5 on swap width and height."""
        if spec.orient and orientation >= 5:
            return spec.scaled(*size[::-1])[::-1]
        return spec.scaled(*size)

    def enough(size: tuple[int, int], orientation: int) -> tuple[int, int]:
        if _exactly(size):
            return size
        width, height = scaled(size, orientation)
        return _SPARE * width, _SPARE * height

    picture, size, orientation = open_reduced(image, enough)
    picture = flatten(picture, spec.background)
    target = scaled(size, orientation)
    resized = picture if target == size or _exactly(size) else resize(picture, size, target, spec.interpolation)
    # Turned when it is small. The part of a pixel by which a reduced picture may be too large is then gone.
    if spec.orient and orientation in _TURNS:
        resized = resized.transpose(_TURNS[orientation])
    return np.asarray(spec.fit(resized) if _exactly(size) else spec.window(resized))


def is_small(size: tuple[int, int]) -> bool:
    return size[0] * size[1] <= _SMALL


def _exactly(size: tuple[int, int]) -> bool:
    return is_small(size) or is_strip(*size)


def resize_with_torch(picture: Image.Image, size: Size, scaled: Size, filter_: Resample) -> Image.Image:
    """size: of the picture before it was reduced."""
    return Image.fromarray(resized_by_torch(picture, size, scaled, filter_))


def resized_by_torch(picture: Image.Image, size: Size, scaled: Size, filter_: Resample) -> NDArray[np.uint8]:
    """The same as an array [height, width, 3]."""
    import torch
    import torch.nn.functional as F

    width, height = scaled
    pixels_13HW = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
    options: dict[str, Any] = {"size": (height, width)}
    if picture.size != size:
        # The last row and column of a reduced picture may stand for less than the others. The scale is that of the true
        # size, and a hair more, because torch truncates the size that follows.
        factor = round(max(size) / max(picture.size)) * (1 + 1e-6)
        options = {"scale_factor": (height * factor / size[1], width * factor / size[0])}
    out_13HW = F.interpolate(pixels_13HW, mode=filter_, antialias=True, **options)
    return out_13HW[0, :, :height, :width].permute(1, 2, 0).numpy()


def resize_with_pillow(picture: Image.Image, size: Size, scaled: Size, filter_: Resample) -> Image.Image:
    """The same, where there is no torch."""
    factor = round(max(size) / max(picture.size))
    return picture.resize(scaled, FILTERS[filter_], box=(0, 0, size[0] / factor, size[1] / factor))

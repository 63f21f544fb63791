"""Augmentation of one picture, drawn from the sample's own random numbers (see `sightword.data.order`).

Everything is done in few passes over few pixels: one crop and resize, one colour matrix. The crop is drawn before a
picture is decoded, so that a JPEG is decoded only as large as the crop needs.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from pydantic import AfterValidator, Field

from sightword.config import Config
from sightword.data.fast_images import is_small, resized_by_torch
from sightword.data.images import FILTERS, ImageSpec, draw_on, flatten, is_strip
from sightword.data.pairs import VOID


def _rising(span: tuple[float, float]) -> tuple[float, float]:
    if not 0 < span[0] <= span[1]:
        raise ValueError("needs two areas above 0, the smaller one first")
    return span


Share = Annotated[float, Field(ge=0, le=1)]
Picture = np.ndarray[Any, np.dtype[np.uint8]]

_LUMA = np.array([0.299, 0.587, 0.114])
_RGB_TO_YIQ = np.array([_LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_SAME = np.eye(3)
_YIQ_TO_RGB = np.linalg.inv(_RGB_TO_YIQ)


class Frame(NamedTuple):
    """A part of a picture that is not open yet. crop: its side as a share of the picture's shorter one, the root of the
    ratio of its sides, and where it lies across and down, from 0 to 1; None where the whole picture is taken as the
    contract says."""

    spec: ImageSpec
    ground: tuple[int, int, int]
    crop: tuple[float, float, float, float] | None = None

    def enough(self, size: tuple[int, int]) -> tuple[int, int]:
        """To what a picture of `size` may be reduced so that the part has as many pixels as the tower takes; twice as
        many in each direction where nothing else is changed, as in `sightword.data.fast_images`."""
        if self.crop is None:
            width, height = self.spec.scaled(*size)
            return size if is_strip(*size) else (2 * width, 2 * height)
        spare = min(size) * self.crop[0] / self.spec.size
        return (math.ceil(size[0] / spare), math.ceil(size[1] / spare)) if spare > 1 else size

    def cut(self, picture: Image.Image) -> Image.Image | Picture:
        """An RGB or RGBA picture to the part, at the tower's size: as it was computed, by Pillow or by torch. It may be
        the picture itself."""
        spec = self.spec
        # Photographs, that is. A drawing with transparency keeps Pillow's pixels whatever its size.
        fast = picture.mode == "RGB" and not is_small(picture.size)
        if self.crop is None:
            return spec.fit(flatten(picture, self.ground))
        margin, box = self._box(picture.size)
        if margin:
            wider = Image.new("RGB", (picture.width + 2 * margin, picture.height + 2 * margin), self.ground)
            picture = draw_on(wider, picture, (margin, margin))
        picture = flatten(picture, self.ground)
        target = spec.size, spec.size
        if not fast:
            return picture.resize(target, FILTERS[spec.interpolation], box=box)
        # The part of a pixel by which the crop is moved is lost among so many.
        first, last = (math.floor(box[0]), math.floor(box[1])), (math.ceil(box[2]), math.ceil(box[3]))
        part = picture.crop((*first, *last))
        return resized_by_torch(part, part.size, target, spec.interpolation)

    def cut_mask(self, mask: Image.Image) -> Image.Image:
        """The same part of a mask (mode I): no labels are mixed, and what is beside the picture is VOID."""
        if self.crop is None:
            return self.spec.fit(mask, void=VOID)
        margin, box = self._box(mask.size)
        if margin:
            wider = Image.new("I", (mask.width + 2 * margin, mask.height + 2 * margin), VOID)
            wider.paste(mask, (margin, margin))
            mask = wider
        return mask.resize((self.spec.size, self.spec.size), Image.Resampling.NEAREST, box=box)

    def _box(self, size: tuple[int, int]) -> tuple[int, tuple[float, float, float, float]]:
        """Of a picture of `size`: how many pixels it must be wider on each side, and the crop in what is then there."""
        assert self.crop is not None
        share, ratio, across, down = self.crop
        # The crop is a share of the largest centred square, so that the aspect ratio of a photo is not squashed.
        side = min(size) * share
        width, height = side * ratio, side / ratio
        left, top = across * (size[0] - width), down * (size[1] - height)
        margin = math.ceil(max(0.0, -left, -top, left + width - size[0], top + height - size[1]))
        if margin:
            left, top = left + margin, top + margin
        return margin, (left, top, min(left + width, size[0] + 2 * margin), min(top + height, size[1] + 2 * margin))


class Augment(Config):
    """crop: the area of the crop as a share of the picture, from (low, high); a share above 1 shrinks the picture into
    its background. aspect: the most by which the crop's sides differ. rotate: degrees, either way. flip: how often to
    mirror. brightness, contrast, saturation: the most that each factor moves from 1. hue: degrees of colour rotation,
    either way. grey: how often to drop colour. background: how often a transparent picture is drawn on a random colour
    instead of the contract's. blur: how often to soften. erase: how often to paint over a patch.
    """

    crop: Annotated[tuple[float, float], AfterValidator(_rising)] = (1.0, 1.0)
    aspect: Annotated[float, Field(ge=1)] = 1.0
    rotate: float = 0.0
    flip: Share = 0.0
    brightness: Share = 0.0
    contrast: Share = 0.0
    saturation: Share = 0.0
    hue: float = 0.0
    grey: Share = 0.0
    background: Share = 0.0
    blur: Share = 0.0
    erase: Share = 0.0

    def __call__(self, picture: Image.Image, spec: ImageSpec, rng: np.random.Generator) -> Picture:
        """An RGB or RGBA picture to uint8 [size, size, 3]."""
        return self.finish(picture, self.frame(spec, rng), rng)

    def frame(self, spec: ImageSpec, rng: np.random.Generator) -> Frame:
        """Which part of a picture is taken, drawn before the picture is there."""
        ground = spec.background or (0, 0, 0)
        if rng.random() < self.background:
            red, green, blue = rng.integers(0, 256, 3).tolist()
            ground = (red, green, blue)
        if self.crop == (1.0, 1.0) and self.aspect == 1.0:
            return Frame(spec, ground)
        low, high = self.crop
        share = float(rng.uniform(low, high))
        ratio = math.exp(float(rng.uniform(-1, 1)) * math.log(self.aspect))
        across, down = float(rng.uniform(0, 1)), float(rng.uniform(0, 1))
        return Frame(spec, ground, (math.sqrt(share), math.sqrt(ratio), across, down))

    def finish(self, picture: Image.Image, frame: Frame, rng: np.random.Generator) -> Picture:
        """What `frame` says of the picture, with all that follows."""
        spec, ground = frame.spec, frame.ground
        part = frame.cut(picture)
        if not self._changes:
            return np.asarray(part)
        picture = before = part if isinstance(part, Image.Image) else Image.fromarray(part)
        if self.rotate:
            angle = float(rng.uniform(-self.rotate, self.rotate))
            picture = picture.rotate(angle, Image.Resampling.BILINEAR, fillcolor=ground)
        if self.flip and rng.random() < self.flip:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        picture = self._colour(picture, rng)
        if self.blur and rng.random() < self.blur:
            picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.2)) * spec.size / 64))
        if self.erase and rng.random() < self.erase:
            width, height = (int(spec.size * side) for side in rng.uniform(0.15, 0.45, 2))
            left, top = int(rng.integers(0, spec.size - width)), int(rng.integers(0, spec.size - height))
            if picture is before:
                picture = before.copy()  # it may be its owner's
            picture.paste(tuple(rng.integers(0, 256, 3).tolist()), (left, top, left + width, top + height))
        return np.asarray(picture)

    def finish_mask(self, mask: NDArray[np.int16], frame: Frame, rng: np.random.Generator) -> NDArray[np.int16]:
        """What `finish` does to the places of the pixels, done to a mask. rng: as it was before the picture's turn."""
        part = frame.cut_mask(Image.fromarray(mask.astype(np.int32)))
        if self.rotate:
            angle = float(rng.uniform(-self.rotate, self.rotate))
            part = part.rotate(angle, Image.Resampling.NEAREST, fillcolor=VOID)
        if self.flip and rng.random() < self.flip:
            part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.asarray(part, dtype=np.int16)

    @property
    def _changes(self) -> bool:
        """Whether anything is done to what the frame has cut."""
        turned, coloured = self.rotate or self.flip, self.brightness or self.contrast or self.saturation or self.hue
        return bool(turned or coloured or self.grey or self.blur or self.erase)

    def _colour(self, picture: Image.Image, rng: np.random.Generator) -> Image.Image:
        brightness, contrast, saturation, turn = rng.uniform(-1, 1, 4)
        matrix = _SAME
        if self.hue:
            angle = math.radians(turn * self.hue)
            cos, sin = math.cos(angle), math.sin(angle)
            matrix = _YIQ_TO_RGB @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ _RGB_TO_YIQ
        keep = 0.0 if self.grey and rng.random() < self.grey else 1 + saturation * self.saturation
        matrix = (keep * _SAME + (1 - keep) * _LUMA) @ matrix
        gain = 1 + contrast * self.contrast
        factor = gain * (1 + brightness * self.brightness)
        offset = 127.5 * (1 - gain)
        rows = (factor * matrix).tolist()
        if offset == 0 and rows == _SAME.tolist():
            return picture
        return picture.convert("RGB", tuple(value for row in rows for value in (*row, offset)))

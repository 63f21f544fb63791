"""Pictures made worse, in twelve ways and at five strengths, for measuring what a model bears.

After ImageNet-C (Hendrycks & Dietterich, arXiv 1903.12261): its strengths for noise, Gaussian blur and JPEG,
with these deviations. A length is a share of the shorter side, so that small pictures are hurt as large ones are; a
picture whose shorter side is over 224 pixels is brought to 224 first, at strength 0 too, which is otherwise the picture
as it is: noise of single pixels would be averaged away by the resize to the model's size. A corruption acts on RGB,
transparency drawn on white before. Occlusion, rotation, hue and saturation towards grey are not in ImageNet-C.

What is random (noise, place, angle, direction) is a function of the seed, the kind and the key of the picture, and the
same at all strengths, so that a stronger corruption is the same one, only more.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from sightword.data.images import ImageLike, InFile, describe, flatten, open_image
from sightword.errors import RequestError

SIDE = 224
STRENGTHS = range(1, 6)
_WHITE = (255, 255, 255)

Values = NDArray[np.float32]  # [H, W, 3], from 0 to 255
Corruption = Callable[[Image.Image, int, np.random.Generator], "Image.Image | Values"]


def corrupt(image: ImageLike, kind: str, strength: int, key: str, seed: int = 0) -> Image.Image:
    """A picture, corrupted, as RGB. strength: 1 to 5, or 0 for the same picture without the corruption. key: names the
    picture; the same key gives the same result. Raises RequestError, and ImageError for what cannot be read."""
    check(kind, strength)
    picture = flatten(open_image(image, enough=_reduced), _WHITE)
    if picture.size != _reduced(picture.size):
        picture = picture.resize(_reduced(picture.size), Image.Resampling.BICUBIC)
    if not strength:
        return picture
    digest = hashlib.sha256(f"{seed}\0{kind}\0{key}".encode("utf-8", "surrogatepass")).digest()
    worse = CORRUPTIONS[kind](picture, strength - 1, np.random.default_rng(int.from_bytes(digest[:16], "big")))
    return worse if isinstance(worse, Image.Image) else _picture(worse)


@dataclass(frozen=True, slots=True)
class CorruptedImage(InFile):
    """A picture that is corrupted when it is opened."""

    image: ImageLike
    kind: str
    strength: int
    key: str
    seed: int = 0

    def __str__(self) -> str:
        return f"{describe(self.image)} ({self.kind}, strength {self.strength})"

    def read(self) -> bytes:
        """As a BMP file, which takes next to no time to write and to read."""
        file = io.BytesIO()
        corrupt(self.image, self.kind, self.strength, self.key, self.seed).save(file, "BMP")
        return file.getvalue()


class Corrupted(Sequence[CorruptedImage]):
    """A view of pictures in which each is corrupted when it is opened. keys: one a picture. Raises RequestError."""

    def __init__(
        self, images: Sequence[ImageLike], keys: Sequence[str], kind: str, strength: int, seed: int = 0
    ) -> None:
        check(kind, strength)
        if len(images) != len(keys):
            raise RequestError(f"{len(images)} pictures have {len(keys)} keys")
        self.images, self.keys = images, keys
        self.kind, self.strength, self.seed = kind, strength, seed

    def __len__(self) -> int:
        return len(self.images)

    @overload
    def __getitem__(self, index: int) -> CorruptedImage: ...
    @overload
    def __getitem__(self, index: slice) -> Corrupted: ...
    def __getitem__(self, index: int | slice) -> CorruptedImage | Corrupted:
        if isinstance(index, slice):
            return Corrupted(self.images[index], self.keys[index], self.kind, self.strength, self.seed)
        return CorruptedImage(self.images[index], self.kind, self.strength, self.keys[index], self.seed)


def check(kind: str, strength: int) -> None:
    """Raises RequestError where there is no such corruption."""
    if kind not in CORRUPTIONS:
        raise RequestError(f"no corruption is called {kind!r}; there are {', '.join(CORRUPTIONS)}")
    if strength not in (0, *STRENGTHS):
        raise RequestError(f"corruptions have strengths 1 to 5 (and 0 for none), not {strength}")


def _reduced(size: tuple[int, int]) -> tuple[int, int]:
    """The size at which a picture is corrupted."""
    short = min(size)
    if short <= SIDE:
        return size
    width, height = (max(SIDE, round(length * SIDE / short)) for length in size)
    return width, height


def _values(picture: Image.Image) -> Values:
    return np.asarray(picture, dtype=np.float32)


def _picture(values: Values) -> Image.Image:
    return Image.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8))


def _sign(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1


def _gaussian_noise(picture: Image.Image, at: int, rng: np.random.Generator) -> Values:
    values = _values(picture)
    deviation = 255 * (0.08, 0.12, 0.18, 0.26, 0.38)[at]
    return values + np.float32(deviation) * rng.standard_normal(values.shape, dtype=np.float32)


def _shot_noise(picture: Image.Image, at: int, rng: np.random.Generator) -> Values:
    """Each value is a count of photons, of which white has this many."""
    photons = (60, 25, 12, 5, 3)[at]
    counts = rng.poisson(_values(picture) * (photons / 255))
    return (counts * (255 / photons)).astype(np.float32)


def _gaussian_blur(picture: Image.Image, at: int, rng: np.random.Generator) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur((1, 2, 3, 4, 6)[at] / SIDE * min(picture.size)))


def _motion_blur(picture: Image.Image, at: int, rng: np.random.Generator) -> Values:
    """The mean of the picture along a line at a random angle. What lies outside is the nearest edge."""
    values, angle = _values(picture), rng.uniform(0, np.pi)
    reach = (0.02, 0.035, 0.05, 0.07, 0.1)[at] * min(picture.size)
    steps = np.arange(-np.ceil(reach), np.ceil(reach) + 1) * (reach / np.ceil(reach))
    pad = int(np.ceil(reach))
    height, width = values.shape[:2]
    padded = np.pad(values, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    total = np.zeros_like(values)
    for step in steps:
        top, left = (pad + round(float(step * way)) for way in (np.sin(angle), np.cos(angle)))
        total += padded[top : top + height, left : left + width]
    return total / np.float32(len(steps))


def _jpeg(picture: Image.Image, at: int, rng: np.random.Generator) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=(25, 18, 15, 10, 7)[at])
    return Image.open(file).convert("RGB")


def _pixelate(picture: Image.Image, at: int, rng: np.random.Generator) -> Image.Image:
    share = (0.5, 0.4, 0.3, 0.2, 0.15)[at]
    width, height = (max(1, round(length * share)) for length in picture.size)
    return picture.resize((width, height), Image.Resampling.BOX).resize(picture.size, Image.Resampling.NEAREST)


def _occlusion(picture: Image.Image, at: int, rng: np.random.Generator) -> Image.Image:
    """A grey box of the picture's shape. The box of a lower strength lies within that of a higher."""
    side = (0.05, 0.1, 0.2, 0.3, 0.45)[at] ** 0.5  # of these shares of the area
    width, height = (max(1, round(length * side)) for length in picture.size)
    left, top = (
        int(place * (whole - part))
        for place, whole, part in zip(rng.random(2), picture.size, (width, height), strict=True)
    )
    covered = picture.copy()
    covered.paste((128, 128, 128), (left, top, left + width, top + height))
    return covered


def _brightness(picture: Image.Image, at: int, rng: np.random.Generator) -> Values:
    """Towards white or towards black."""
    end = np.float32(255 if _sign(rng) > 0 else 0)
    return _towards(_values(picture), end, (0.15, 0.3, 0.45, 0.6, 0.75)[at])


def _contrast(picture: Image.Image, at: int, rng: np.random.Generator) -> Values:
    """Towards the picture's mean."""
    values = _values(picture)
    return _towards(values, values.mean(), (0.4, 0.55, 0.7, 0.8, 0.9)[at])


def _saturation(picture: Image.Image, at: int, rng: np.random.Generator) -> Values:
    """Towards the greys of the picture."""
    return _towards(_values(picture), _values(picture.convert("L").convert("RGB")), (0.3, 0.5, 0.7, 0.85, 1)[at])


def _hue(picture: Image.Image, at: int, rng: np.random.Generator) -> Image.Image:
    """All hues turned, one way or the other, by up to a third of the circle."""
    hue, saturation, value = picture.convert("HSV").split()
    turn = _sign(rng) * (8, 20, 36, 58, 85)[at]  # of 256
    hue = hue.point([(level + turn) % 256 for level in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


def _rotation(picture: Image.Image, at: int, rng: np.random.Generator) -> Image.Image:
    """About the middle, one way or the other. The corners that come free are of the mean colour of the edge."""
    values = _values(picture)
    edge = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]]).mean(axis=0)
    fill = (round(float(edge[0])), round(float(edge[1])), round(float(edge[2])))
    angle = _sign(rng) * (6, 12, 20, 30, 45)[at]
    return picture.rotate(angle, Image.Resampling.BICUBIC, fillcolor=fill)


def _towards(values: Values, end: Values | np.float32, share: float) -> Values:
    return values + np.float32(share) * (end - values)


# The order of tables.
CORRUPTIONS: dict[str, Corruption] = {
    "gaussian noise": _gaussian_noise,
    "shot noise": _shot_noise,
    "gaussian blur": _gaussian_blur,
    "motion blur": _motion_blur,
    "pixelate": _pixelate,
    "jpeg": _jpeg,
    "occlusion": _occlusion,
    "rotation": _rotation,
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "hue": _hue,
}

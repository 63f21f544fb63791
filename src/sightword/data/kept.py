"""Decoded pictures that stay in memory, where a whole source fits: its files are then read once, not once an epoch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

import numpy as np
from PIL import Image

from sightword.data.images import ImageLike, open_image, read_size
from sightword.errors import ImageError

Size = tuple[int, int]

_PIXEL = 4  # bytes, as Pillow holds RGB and RGBA
_OBJECT = 1024  # bytes of a picture beside its pixels


class KeptPictures:
    """Pictures by their places in one source, up to `most` bytes of them; what comes then is read each time.

    What `open` gives is what `open_image` would give, to the bit. So a JPEG that was reduced while it was decoded, as
    far as the crop of that moment allowed, is not kept. Nor is what cannot be read, and what is in memory already.
    Several threads may ask at once; none may change what it is given.
    """

    def __init__(self, most: int, orient: bool) -> None:
        self.size = 0  # bytes
        self._most, self._orient = most, orient
        # With each picture, the size that a crop is asked about: None where no crop can reduce it.
        self._found: dict[int, tuple[Image.Image, Size | None]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._found)

    def open(self, place: int, image: ImageLike, enough: Callable[[Size], Size]) -> Image.Image:
        """As `open_image`. Raises ImageError."""
        kept, size = self._found.get(place, (None, None))
        if kept is not None and (size is None or not _may_reduce(size, enough(size))):
            return kept
        if isinstance(image, Image.Image | np.ndarray):
            return open_image(image, orient=self._orient, enough=enough)
        asked: list[Size] = []

        def noted(size: Size) -> Size:
            asked.append(size)
            return enough(size)

        picture = open_image(image, orient=self._orient, enough=noted)
        if asked[0] in (picture.size, picture.size[::-1]):  # it may have been turned
            reducible = not _may_reduce(asked[0], enough(asked[0]))
            self._keep(place, picture, asked[0] if reducible else None)
        return picture

    def _keep(self, place: int, picture: Image.Image, size: Size | None) -> None:
        bytes_ = _bytes_of(picture.size)
        with self._lock:
            if place in self._found:
                self._found[place] = self._found[place][0], size
            elif self.size + bytes_ <= self._most:
                picture.info = {}  # a file's other data, which nothing asks for any more
                self._found[place] = picture, size
                self.size += bytes_


def expected_bytes(images: Iterable[ImageLike], count: int) -> int:
    """What `count` pictures take in memory, if these are like them all. Those that cannot be read count for none."""
    found = []
    for image in images:
        size = (0, 0)
        with suppress(ImageError):
            size = read_size(image)
        found.append(_bytes_of(size))
    return sum(found) * count // max(1, len(found))


def _bytes_of(size: Size) -> int:
    return _PIXEL * size[0] * size[1] + _OBJECT


def _may_reduce(size: Size, enough: Size) -> bool:
    """Whether a decoder that can would halve the picture at least (`Image.draft`)."""
    return size[0] // enough[0] >= 2 and size[1] // enough[1] >= 2

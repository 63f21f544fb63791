"""What a test has seen in training: equal captions, and pictures that are the same or nearly so.

Captions are equal when they are without case, punctuation and spaces. Pictures are compared as thumbnails of 16 x 16
pixels, whatever their sizes: nearer than NEAR grey levels, on average over all of them, is the same picture.

Shapes: N pictures of the training, M of the test.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightword.data.images import ImageLike, open_image
from sightword.data.pairs import Source

NEAR = 2.0
_SIDE = 16
_AT_ONCE = 4096  # thumbnails of the training


@dataclass(frozen=True)
class Seen:
    """Of a training. texts: all captions, true and false, plain; thumbnails: float32 [N, 768]."""

    texts: frozenset[str]
    thumbnails: NDArray[np.float32]

    def has(self, text: str) -> bool:
        return plain(text) in self.texts


@dataclass(frozen=True)
class Overlap:
    """captions: of the test, each once; captions_seen: those that stand in the training, too. pictures; pictures_seen:
    those nearer than NEAR to one of the training; nearest: the smallest distance, in grey levels."""

    test: str
    captions: int
    captions_seen: int
    pictures: int
    pictures_seen: int
    nearest: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def seen_in(source: Source) -> Seen:
    """Every text and every picture of a source, which are made or read for it."""
    texts: set[str] = set()
    thumbnails = np.empty((len(source), 3 * _SIDE * _SIDE), np.float32)
    for place, pair in enumerate(source):
        found = list(pair.texts)
        if pair.companions is not None:
            found += [*pair.companions.denied, *pair.companions.absent, *pair.companions.foils, *pair.companions.long]
        texts.update(map(plain, found))
        thumbnails[place] = _thumbnail(pair.image)
    return Seen(frozenset(texts), thumbnails)


def overlap(seen: Seen, test: str, texts: Iterable[str], images: Sequence[ImageLike]) -> Overlap:
    told = {plain(text): seen.has(text) for text in texts}
    nearest = [_nearest(_thumbnail(image), seen.thumbnails) for image in images]
    again = sum(distance < NEAR for distance in nearest)
    return Overlap(test, len(told), sum(told.values()), len(nearest), again, min(nearest, default=float("inf")))


def _thumbnail(image: ImageLike) -> NDArray[np.float32]:
    small = open_image(image).convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.float32).reshape(-1)


def _nearest(one: NDArray[np.float32], others: NDArray[np.float32]) -> float:
    parts = range(0, len(others), _AT_ONCE)
    return min((float(np.abs(others[at : at + _AT_ONCE] - one).mean(axis=1).min()) for at in parts), default=np.inf)

"""Captions and their denials: what a text tower is asked about negation, with the pictures that its losses need.

Shapes: N pictures.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sightword.data.images import ImageLike
from sightword.data.labelled import refuse_twice, with_pictures
from sightword.data.pairs import Skipped
from sightword.errors import RequestError


@dataclass(frozen=True, slots=True)
class Denial:
    """Of the picture at `image`: affirmed, which is true, and denied, the same but that it denies `present`, a thing
    that is there. foil and absent: the same of `missing`, a thing that is not there, so that what affirms is false and
    what denies true. Empty where it is not known."""

    image: int
    affirmed: str
    denied: str
    foil: str = ""
    absent: str = ""
    present: str = ""
    missing: str = ""


@dataclass(frozen=True, slots=True)
class OneDenied:
    """A text that names two things and denies one of them. There is another of the same words, in which the names stand
    the other way round: which of the two is denied is not told by the words."""

    image: int
    text: str
    affirmed: str
    denied: str


@dataclass(frozen=True)
class Denials:
    """A split of a data set. Checked when it is made; raises RequestError. images, keys, skipped, made: as in
    `Labelled`."""

    name: str
    split: str
    images: Sequence[ImageLike]
    keys: Sequence[str]
    denials: Sequence[Denial]
    one_denied: Sequence[OneDenied] = ()
    skipped: Sequence[Skipped] = ()
    made: str = ""

    def __post_init__(self) -> None:
        n = len(self.images)
        if not n or not self.denials:
            raise RequestError(f"{self}: holds {n} pictures and {len(self.denials)} captions with a denial")
        if len(self.keys) != n:
            raise RequestError(f"{self}: {n} pictures have {len(self.keys)} keys")
        refuse_twice(self.keys, str(self))
        pictures = [*(one.image for one in self.denials), *(one.image for one in self.one_denied)]
        if min(pictures) < 0 or max(pictures) >= n:
            raise RequestError(f"{self}: a caption is of picture {max(pictures)}, and there are {n}")

    def __str__(self) -> str:
        return f"{self.name} ({self.split})"

    def __len__(self) -> int:
        """Pictures."""
        return len(self.images)

    def take(self, rows: NDArray[np.int64]) -> Denials:
        """These pictures alone, in this order, with what is said of them."""
        place = {row: number for number, row in enumerate(rows.tolist())}
        return replace(
            self,
            images=[self.images[row] for row in rows],
            keys=[self.keys[row] for row in rows],
            denials=[replace(one, image=place[one.image]) for one in self.denials if one.image in place],
            one_denied=[replace(one, image=place[one.image]) for one in self.one_denied if one.image in place],
        )

    def fingerprint(self) -> str:
        """As that of `Labelled`, of the captions in the place of classes and labels."""
        told = [[*map(astuple, self.denials)], [*map(astuple, self.one_denied)]]
        digest = hashlib.sha256(json.dumps(told).encode())
        return with_pictures(digest, self.keys, self.images)

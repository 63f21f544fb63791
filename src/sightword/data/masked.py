"""Pictures with a label at every pixel: what segmentation trains on and is measured on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightword.data.pairs import VOID as VOID
from sightword.errors import RequestError


@dataclass(frozen=True)
class MaskedPicture:
    """key: names it in logs and reports. image: gives the picture, RGB, and raises ImageError where it cannot be read.
    labels: what its pixels may be called; they differ from picture to picture. mask: gives int16 [H, W], places in
    `labels`, VOID where a pixel does not count. Both are made anew whenever they are asked for."""

    key: str
    image: Callable[[], Image.Image]
    labels: tuple[str, ...]
    mask: Callable[[], NDArray[np.int16]]


@dataclass(frozen=True)
class Masked:
    """A split of a data set. pictures: cheap to reach; what each holds is made when it is asked for. names: all that
    the labels of its pictures are drawn from, where that is known."""

    name: str
    split: str
    pictures: Sequence[MaskedPicture]
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.pictures):
            raise RequestError(f"{self}: holds no picture")

    def __str__(self) -> str:
        return f"{self.name} ({self.split})"

    def __len__(self) -> int:
        return len(self.pictures)

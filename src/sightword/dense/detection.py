"""Words to boxes: each connected part of a mask is a thing of its label.

A first step without training: things of one label that touch are one box, and one that something hides in the middle
is two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightword.dense.components import find_parts
from sightword.errors import RequestError

MIN_AREA = 0.001  # of the picture: 100 pixels of 320 x 320; set by eye, tuned on nothing


@dataclass(frozen=True)
class Detection:
    """score: the mean over its pixels of the label's share of the softmax, from 0 to 1. box: left, top, width and
    height in pixels, as COCO has them. area: pixels of the part, at most those of the box."""

    label: str
    score: float
    box: tuple[int, int, int, int]
    area: int

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "box": list(self.box)}


def find_boxes(
    mask_HW: NDArray[np.int16],
    shares_HW: NDArray[np.float32],
    labels: Sequence[str],
    background: Sequence[str] = (),
    min_area: float = MIN_AREA,
) -> list[Detection]:
    """The best score first. mask_HW: places in labels. shares_HW: of each pixel's own label. background: labels that
    are no things. min_area: parts with a smaller share of the picture's pixels are left out.

    Raises RequestError for a background that is none of the labels, and a share that cannot be.
    """
    if unknown := [name for name in background if name not in labels]:
        raise RequestError(f"the background {unknown[0]!r} is none of the labels: {', '.join(labels[:20])}")
    check_min_area(min_area)
    parts = find_parts(mask_HW, shares_HW)
    wanted = np.array([label not in background for label in labels])
    kept = np.flatnonzero(wanted[parts.labels] & (parts.areas >= min_area * mask_HW.size))
    found = [
        Detection(
            labels[parts.labels[at]],
            float(parts.means[at]),
            (
                int(parts.left[at]),
                int(parts.top[at]),
                int(parts.right[at] - parts.left[at]),
                int(parts.bottom[at] - parts.top[at]),
            ),
            int(parts.areas[at]),
        )
        for at in kept
    ]
    # Parts stand by their places: equal scores, too, come in an order that does not depend on that of the labels.
    return sorted(found, key=lambda one: -one.score)


def check_min_area(min_area: float) -> float:
    if not 0 <= min_area <= 1:
        raise RequestError(f"min_area is a share of the picture's pixels, from 0 to 1, not {min_area}")
    return min_area

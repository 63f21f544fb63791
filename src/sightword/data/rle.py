"""Masks as runs of pixels, as COCO writes them."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray


class RunLengths(TypedDict):
    """size: height and width. counts: column by column, how many pixels are not the mask's, how many are, and so on."""

    size: list[int]
    counts: list[int]


def run_lengths(mask: NDArray[np.bool_]) -> RunLengths:
    """COCO's uncompressed RLE of bool [H, W]; pycocotools takes it as it is."""
    columns: NDArray[Any] = np.concatenate(([False], mask.ravel(order="F")))
    changes = np.flatnonzero(columns[1:] != columns[:-1])
    return {"size": [*mask.shape], "counts": np.diff(changes, prepend=0, append=mask.size).tolist()}

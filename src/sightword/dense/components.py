"""The connected parts of a mask: where neighbours have the same label.

Found by runs (pixels of one label, side by side in a row): what is kept grows with their number, not with the picture.
Shapes: H, W pixels, R runs, P parts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Parts:
    """By the place of their first pixel, row by row. labels: of each part. left, top, right, bottom: of the smallest
    box around it in pixels, whose right and bottom are those of the first pixels outside. areas: pixels. means: of the
    values inside."""

    labels: Ints
    left: Ints
    top: Ints
    right: Ints
    bottom: Ints
    areas: Ints
    means: NDArray[np.float64]


def find_parts(mask_HW: NDArray[np.integer], values_HW: NDArray[np.floating]) -> Parts:
    """Neighbours are the eight around a pixel. mask_HW: labels. values_HW: a number for each pixel."""
    width = mask_HW.shape[1]
    flat = np.ascontiguousarray(mask_HW).ravel()
    begins = np.empty(flat.size, dtype=bool)
    np.not_equal(flat[1:], flat[:-1], out=begins[1:])
    begins[::width] = True
    start_R = np.flatnonzero(begins)
    length_R = np.diff(start_R, append=flat.size)
    label_R = flat[start_R].astype(np.int64)
    row_R, left_R = start_R // width, start_R % width

    above, below = _touching(start_R, length_R, width, flat.size)
    same = label_R[above] == label_R[below]
    roots_R = _roots(len(start_R), above[same], below[same])
    first_P, part_R = np.unique(roots_R, return_inverse=True)

    far, count = np.iinfo(np.int64).max, len(first_P)
    left, right, bottom = np.full(count, far), np.zeros(count, np.int64), np.zeros(count, np.int64)
    np.minimum.at(left, part_R, left_R)
    np.maximum.at(right, part_R, left_R + length_R)
    np.maximum.at(bottom, part_R, row_R + 1)
    areas = np.zeros(count, np.int64)
    np.add.at(areas, part_R, length_R)
    sums_R = np.add.reduceat(values_HW.ravel(), start_R, dtype=np.float64)
    means = np.bincount(part_R, sums_R, count) / areas
    # A part's root is the first of its runs.
    return Parts(label_R[first_P], left, row_R[first_P], right, bottom, areas, means)


def _touching(start_R: Ints, length_R: Ints, width: int, size: int) -> tuple[Ints, Ints]:
    """Pairs of runs that touch, one in the row below that of the other."""
    upper = np.flatnonzero(start_R + width < size)
    row_begin = (start_R[upper] // width + 1) * width  # of the row below
    from_ = np.maximum(start_R[upper] + width - 1, row_begin)
    last = np.minimum(start_R[upper] + length_R[upper] + width, row_begin + width - 1)
    first_run = np.searchsorted(start_R, from_, side="right") - 1
    runs = np.searchsorted(start_R, last, side="right") - first_run
    ends = np.cumsum(runs)
    within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - runs, runs)
    return np.repeat(upper, runs), np.repeat(first_run, runs) + within


def _roots(count: int, one: Ints, other: Ints) -> Ints:
    """Union-find for all pairs at a time: of each element, the smallest that it is connected to. Every round hangs each
    root that has a smaller neighbour below its smallest one; what is left halves at least."""
    roots = np.arange(count)
    while True:
        one, other = roots[one], roots[other]
        apart = one != other
        if not apart.any():
            return roots
        one, other = one[apart], other[apart]
        np.minimum.at(roots, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(higher := roots[roots], roots):
            roots = higher

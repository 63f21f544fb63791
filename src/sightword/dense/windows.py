"""A picture of any size as windows of a tower's size, and the maps of the windows as one map of the picture.

The picture is scaled until its shorter side has `short` pixels; windows slide over it, `step` pixels apart, the last
one at the border. Their maps are interpolated to pixels, added, divided by how many windows see a pixel, and brought to
the picture's own size, as SCLIP and its successors do it. All of that is linear and the same for rows as for columns:
two matrices, an Axis each.
Shapes: S pixels of the scaled picture along an axis, O of the picture itself, K cells of all windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

_LONGEST = 64  # times its shorter side is a scaled picture long


@dataclass(frozen=True)
class Axis:
    """One direction of a picture. length: its pixels; scaled: those that it is scaled to. starts: of the windows, in
    scaled pixels, each `size` long. stride: pixels to a cell of their maps, from the window's beginning on."""

    length: int
    scaled: int
    starts: tuple[int, ...]
    size: int
    stride: int

    def seen(self, begin: int, end: int) -> range:
        """The windows that see any of the scaled pixels from `begin` to `end`."""
        which = [at for at, start in enumerate(self.starts) if start < end and start + self.size > begin]
        return range(which[0], which[-1] + 1)

    def needs(self, begin: int, end: int) -> tuple[int, int]:
        """The scaled pixels of which those from `begin` to `end` of the picture itself are made."""
        low, high, _ = _between(begin, end, self.scaled / self.length, self.scaled)
        return int(low[0]), int(high[-1]) + 1

    def place(self, begin: int, end: int, windows: range, cells: int) -> Tensor:
        """From the cells of these windows, so many each, to scaled pixels, averaged over the windows that see them:
        [S, K]."""
        cell = min(self.stride, self.size / cells)  # a patch that does not divide the window leaves a rest unseen
        placed_SK = torch.zeros(end - begin, len(windows) * cells)
        seen_S1 = torch.zeros(end - begin, 1)
        for number, at in enumerate(windows):
            first, last = max(begin, self.starts[at]), min(end, self.starts[at] + self.size)
            if first >= last:
                continue
            rows, columns = slice(first - begin, last - begin), slice(number * cells, (number + 1) * cells)
            placed_SK[rows, columns] = _linear(first - self.starts[at], last - self.starts[at], 1 / cell, 0, cells)
            seen_S1[rows] += 1
        return placed_SK / seen_S1

    def resize(self, begin: int, end: int) -> Tensor:
        """From the scaled pixels that it `needs` to those from `begin` to `end` of the picture itself: [O, S]."""
        first, last = self.needs(begin, end)
        return _linear(begin, end, self.scaled / self.length, first, last)


def _between(begin: int, end: int, ratio: float, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Between which two of `count` samples each pixel lies, each pixel being `ratio` samples long, and how far it is on
    the way. In float64: strips are long. Beyond the outermost samples these go on."""
    at = ((torch.arange(begin, end, dtype=torch.float64) + 0.5) * ratio - 0.5).clamp(0, count - 1)
    low = at.floor().long()
    return low, (low + 1).clamp(max=count - 1), at - low


def _linear(begin: int, end: int, ratio: float, first: int, last: int) -> Tensor:
    """Linear interpolation as a matrix [end - begin, last - first], from the samples `first` to `last`."""
    low, high, way = _between(begin, end, ratio, last)
    weights = torch.zeros(end - begin, last - first)
    rows = torch.arange(end - begin)
    weights[rows, low - first] += (1 - way).float()
    weights[rows, high - first] += way.float()
    return weights


def axes(size: tuple[int, int], short: int, window: int, step: int, stride: int) -> tuple[Axis, Axis]:
    """Rows and columns of a picture of this size (width, height). The longer side of a strip is scaled less than the
    shorter one: a line of pixels would take thousands of windows, and show no more."""
    scale = short / min(size)

    def axis(length: int) -> Axis:
        scaled = max(short, min(round(length * scale), _LONGEST * short))
        return Axis(length, scaled, slide(scaled, window, step), window, stride)

    return axis(size[1]), axis(size[0])


def slide(length: int, window: int, step: int) -> tuple[int, ...]:
    """Where windows begin: every `step` pixels, and the last one at the end."""
    return (*range(0, length - window, step), length - window)


def cut(length: int, pieces: int) -> list[tuple[int, int]]:
    """`pieces` stretches of nearly the same length."""
    return list(pairwise(round(at * length / pieces) for at in range(min(pieces, length) + 1)))

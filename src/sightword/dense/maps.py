"""The score maps of one picture: made window by window at the stride of the tower, and read at the picture's own size
for some queries and some of its pixels at a time, so that memory stays bounded whatever the picture and the labels.

All is laid out as if the picture were wider than high: `along` is its longer side.
Shapes: Q queries, n some of them, h x w cells of a window, H x W pixels of the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from math import ceil
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sightword.dense.refine import REACH, Affinities
from sightword.dense.windows import axes, cut

_PIXELS = 1 << 22  # of a band, scaled or not
_WINDOWS = 8  # that a band is long
_MAPS = 64 << 20  # bytes of what windows gave, that are held (one band's may be more)
_CHUNK = 64 << 20  # bytes of maps of a band, that are made at a time

# uint8 windows [N, size, size, 3] to logits [N, Q, h, w].
Score: TypeAlias = Callable[[NDArray[np.uint8]], Tensor]


class Slide(NamedTuple):
    """How windows lie on a picture. size: of a window. short: pixels that the shorter side of the picture is scaled to.
    step: pixels from one window to the next. stride: pixels of a cell of the maps. resample: Pillow's filter, with
    which the picture is scaled."""

    size: int
    short: int
    step: int
    stride: int
    resample: Image.Resampling


class Band(NamedTuple):
    """A stretch of the picture along its longer side, in its own pixels."""

    begin: int
    end: int


class ScoreMaps:
    """picture: RGB. score: what a scorer makes of windows. refine: whether PAMR follows its colours."""

    def __init__(
        self, picture: Image.Image, slide: Slide, score: Score, queries: int, refine: bool, device: torch.device
    ) -> None:
        self.picture, self.slide, self.score, self.queries = picture, slide, score, queries
        self.refine, self.device = refine, device
        rows, columns = axes(picture.size, slide.short, slide.size, slide.step, slide.stride)
        self.wide = picture.width >= picture.height
        self.along, self.across = (columns, rows) if self.wide else (rows, columns)
        windows = len(self.along.starts) * len(self.across.starts)
        self._bytes = 4 * windows * queries * (slide.size // slide.stride) ** 2
        self._held: dict[int, Tensor] = {}  # by window along the picture: [windows across, Q, h, w]

    def bands(self) -> list[Band]:
        pixels = max(self.along.length * self.across.length, self.along.scaled * self.across.scaled)
        pieces = max(ceil(pixels / _PIXELS), ceil(len(self.along.starts) / _WINDOWS), ceil(self._bytes / _MAPS))
        return [Band(*stretch) for stretch in cut(self.along.length, pieces)]

    def place(self, band: Band) -> tuple[slice, slice]:
        """Where a band lies in a map [H, W]."""
        here, everything = slice(band.begin, band.end), slice(None)
        return (everything, here) if self.wide else (here, everything)

    def read(self, band: Band, first: int = 0, last: int | None = None) -> Generator[tuple[int, Tensor], None, None]:
        """(The first query, logits [n, H, W] of it and its followers) of a band, for queries from `first` to `last`."""
        last = self.queries if last is None else last
        begin, end = self.along.needs(band.begin, band.end)
        # What lies next to the band reaches into it where colours are followed.
        halo = REACH if self.refine else 0
        from_, to = max(0, begin - halo), min(self.along.scaled, end + halo)
        seen = self.along.seen(from_, to)
        held = self._windows(seen)
        h, w = held[0].shape[2:]
        cells_along, cells_across = (w, h) if self.wide else (h, w)
        along = self.along.place(from_, to, seen, cells_along)
        across = self.across.place(0, self.across.scaled, range(len(self.across.starts)), cells_across)
        top, bottom = self.across.needs(0, self.across.length)
        to_along, to_across = self.along.resize(band.begin, band.end), self.across.resize(0, self.across.length)
        if self.refine:
            affinities = Affinities(self._scaled(from_, to))
        else:
            along, across = to_along @ along, to_across @ across[top:bottom]
        along, across, to_along, to_across = (matrix.to(self.device) for matrix in (along, across, to_along, to_across))
        pixels = max(len(along) * len(across), len(to_along) * len(to_across))
        together = max(1, _CHUNK // (4 * pixels))
        for at in range(first, last, together):
            # [along, across, n, h, w], of the windows, to [n, cells across, cells along].
            cells = torch.stack([windows[:, at : min(at + together, last)] for windows in held])
            cells = cells.permute((2, 1, 3, 0, 4) if self.wide else (2, 1, 4, 0, 3)).flatten(3, 4).flatten(1, 2)
            maps = across @ cells @ along.T
            if self.refine:
                maps = affinities.refine(maps)[:, top:bottom, begin - from_ : end - from_]
                maps = to_across @ maps @ to_along.T
            yield at, maps if self.wide else maps.transpose(1, 2)

    def _windows(self, wanted: range) -> list[Tensor]:
        """What the windows gave, of these places along the picture."""
        if self._bytes > _MAPS:
            self._held = {at: found for at, found in self._held.items() if at in wanted}
        missing = [at for at in wanted if at not in self._held]
        if missing:
            found = self.score(np.concatenate([self._cut(at) for at in missing]))
            self._held.update(zip(missing, found.split(len(self.across.starts)), strict=True))
        return [self._held[at] for at in wanted]

    def _cut(self, at: int) -> NDArray[np.uint8]:
        """The windows of one place along the picture, [windows across, size, size, 3]."""
        start, size = self.along.starts[at], self.along.size
        slab = np.asarray(self._resize(self.picture, start, start + size))
        return np.stack([slab[y : y + size] if self.wide else slab[:, y : y + size] for y in self.across.starts])

    def _scaled(self, begin: int, end: int) -> Tensor:
        """A stretch of the scaled picture: float32 [3, across, along]. Not rounded to bytes: colours that differ by a
        level from stretch to stretch would show in what follows them."""
        channels = [np.array(self._resize(one.convert("F"), begin, end)) for one in self.picture.split()]
        pixels_3HW = torch.from_numpy(np.stack(channels)).to(self.device)
        return pixels_3HW if self.wide else pixels_3HW.transpose(1, 2)

    def _resize(self, picture: Image.Image, begin: int, end: int) -> Image.Image:
        """A stretch of the scaled picture. The whole of a long strip would be too large for the memory."""
        factor, across = self.along.length / self.along.scaled, float(self.across.length)
        first, last = begin * factor, min(end * factor, self.along.length)
        box = (first, 0.0, last, across) if self.wide else (0.0, first, across, last)
        size = (end - begin, self.across.scaled) if self.wide else (self.across.scaled, end - begin)
        return picture.resize(size, self.slide.resample, box=box)

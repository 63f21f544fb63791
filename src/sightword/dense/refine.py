"""PAMR, refinement by the colours of the picture (Single-Stage Semantic Segmentation from Image Labels: arXiv
2005.08104, section 3.3): a pixel's scores become those of the pixels around it, the more of each the more like its
colour is.

Of a pixel's 8 neighbours at each distance (8 and 16 pixels), the share of each is a softmax over all 16 of the mean
over the channels of -|difference| / (0.1 * deviation), where the deviation is of the 9 pixels of every distance
together. That is done 10 times. As published with SCLIP; but on the scaled picture, for which these distances were
chosen, and not on the picture itself, which may have any size.
Shapes: K neighbours, n maps of H x W.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

DISTANCES = (8, 16)
TIMES = 10
REACH = TIMES * max(DISTANCES)  # pixels beyond which nothing makes a difference


class Affinities:
    def __init__(self, picture_3HW: Tensor) -> None:
        centre = picture_3HW
        samples = [centre] * len(DISTANCES)
        mean = (sum(_neighbours(centre)) + sum(samples)) / _COUNT
        squares = torch.zeros_like(centre)
        for sample in (*samples, *_neighbours(centre)):
            squares += (sample - mean).square()
        deviation = (squares / (_COUNT - 1)).sqrt()
        likeness = [-((near - centre).abs() / (1e-8 + 0.1 * deviation)).mean(dim=0) for near in _neighbours(centre)]
        self.shares_KHW = torch.stack(likeness).softmax(dim=0)

    def refine(self, maps_nHW: Tensor) -> Tensor:
        for _ in range(TIMES):
            refined = torch.zeros_like(maps_nHW)
            for share_HW, near_nHW in zip(self.shares_KHW, _neighbours(maps_nHW), strict=True):
                refined.addcmul_(share_HW, near_nHW)
            maps_nHW = refined
        return maps_nHW


_COUNT = 9 * len(DISTANCES)


def _neighbours(maps_nHW: Tensor) -> Iterator[Tensor]:
    """The maps as seen from each pixel's neighbours; beyond the border, the border goes on."""
    H, W = maps_nHW.shape[1:]
    for far in DISTANCES:
        padded = F.pad(maps_nHW[None], (far,) * 4, mode="replicate")[0]
        for row in (0, far, 2 * far):
            for column in (0, far, 2 * far):
                if (row, column) != (far, far):
                    yield padded[:, row : row + H, column : column + W]

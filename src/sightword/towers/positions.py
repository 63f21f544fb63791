"""Learned positions of a grid, for pictures of another size than the tower was made for.

Shapes: G positions of a square grid, L of another, W width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def resample(positions_GW: Tensor, grid: tuple[int, int], before: int = 0) -> Tensor:
    """Row by row of the new grid, [before + L, W]. The first `before` positions belong to no place and stay as
    they are. A grid of the same size gives the tensor itself.

    Bicubic, with antialiasing where the grid becomes smaller, as timm and open_clip do it.
    """
    count = len(positions_GW) - before
    side = math.isqrt(count)
    if grid == (side, side):
        return positions_GW
    places_1Wgg = positions_GW[before:].T.reshape(1, -1, side, side)
    # Interpolated in float32: few rows, and the kernels for half precision are not everywhere.
    made = F.interpolate(places_1Wgg.float(), size=grid, mode="bicubic", antialias=True, align_corners=False)
    made_LW = made.flatten(2)[0].T.to(positions_GW.dtype)
    return torch.cat([positions_GW[:before], made_LW])

"""What the last block of a ViT does where its patches are wanted in the joint space, and not its class token. A CLIP
learned from the class token alone; what its patches take from each other in the last block says little about places.

x is the block's input, v its values, A what attention makes of them, d the width of a head:

- `clip`: the block as it is.
- `value`, of MaskCLIP (arXiv 2112.01071, section 3.2): A = v; residual and MLP stay.
- `sclip`, of SCLIP (arXiv 2312.01597, equation 4): A = softmax(q q' / sqrt d) v + softmax(k k' / sqrt d) v, a sum and
  no average; residual and MLP stay.
- `clearclip`, of ClearCLIP (arXiv 2407.12442, section 3.2): A = softmax(q q' / sqrt d) v; neither residual nor MLP.
- `naclip`, of NACLIP (arXiv 2404.08181, section 3): A = softmax(k k' / sqrt d + w) v, where w is a Gaussian of the
  distance between patches, with its peak at 1; neither residual nor MLP.

The class token takes part as a query, key and value in all of them but `value`, and w is 0 for it.
Shapes: B batch, L tokens (what is no patch first), P patches, W width, H heads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from sightword.towers import Rule as Rule
from sightword.towers.layers import Attention, Block, attend

RULES: tuple[Rule, ...] = get_args(Rule)
SIGMA = 5.0  # of NACLIP's Gaussian, in patches

# q, k, v [B, H, L, W / H] and the grid (rows, columns) of the patches to A, of the shape of v.
Mix: TypeAlias = Callable[[Tensor, Tensor, Tensor, tuple[int, int]], Tensor]


def run_block(block: Block, x_BLW: Tensor, rule: Rule, grid: tuple[int, int]) -> Tensor:
    """The block's tokens [B, L, W] by a rule."""
    if rule == "clip":
        return block(x_BLW)
    y_BLW = block.scale1(_attention(block.attention, block.norm1(x_BLW), MIXES[rule], grid))
    if rule in ("clearclip", "naclip"):
        return y_BLW
    x_BLW = x_BLW + y_BLW
    return x_BLW + block.scale2(block.mlp(block.norm2(x_BLW)))


def _attention(attention: Attention, x_BLW: Tensor, mix: Mix, grid: tuple[int, int]) -> Tensor:
    B, L, W = x_BLW.shape
    q, k, v = attention.qkv(x_BLW).view(B, L, 3, attention.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    return attention.out(mix(q, k, v, grid).transpose(1, 2).reshape(B, L, W))


def values_alone(q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int]) -> Tensor:
    return v


def queries_and_keys(q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int]) -> Tensor:
    return attend(q, q, v) + attend(k, k, v)


def queries(q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int]) -> Tensor:
    return attend(q, q, v)


def near_keys(q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int], sigma: float = SIGMA) -> Tensor:
    near_LL = F.pad(nearness(grid, sigma, k.device), (k.shape[2] - grid[0] * grid[1], 0) * 2)
    return attend(k, k, v, mask=near_LL.to(k.dtype))


MIXES: dict[Rule, Mix] = {
    "value": values_alone,
    "sclip": queries_and_keys,
    "clearclip": queries,
    "naclip": near_keys,
}


def nearness(grid: tuple[int, int], sigma: float, device: torch.device | None = None) -> Tensor:
    """exp(-distance^2 / (2 sigma^2)) between the patches of a grid, [P, P]."""
    rows, columns = (torch.arange(side, device=device, dtype=torch.float32) for side in grid)
    places_P2 = torch.cartesian_prod(rows, columns)
    squares_PP = (places_P2[:, None] - places_P2).square().sum(dim=2)
    return torch.exp(-squares_PP / (2 * sigma**2))

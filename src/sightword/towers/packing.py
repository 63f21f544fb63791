"""Texts of different lengths without their padding: all layers but attention take one token after another.

A little of the padding stays, so that the numbers of tokens come again from step to step. No text sees it, as attention
is masked (or causal), and what comes of it is read by nothing.

Shapes: B texts, L the longest of them, N tokens of all texts and of what stays of their padding, W any width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# The share of padding from which leaving it out saves more than the moving of tokens costs.
_WORTH = 0.1
# Numbers of tokens from a power of 2 to the next that are told apart. A heap that is asked for other sizes in each step
# fills with holes (on a CPU a run grew to three times its memory), and each size has kernels of its own.
_SIZES = 32


@dataclass(frozen=True)
class Packing:
    """texts, longest: B, L. flat: int64 [N], where each token stands in the padded batch, row after row. first: int64
    [B], where each text begins among the tokens."""

    texts: int
    longest: int
    flat: Tensor
    first: Tensor

    @staticmethod
    def of(lengths_B: Tensor, longest: int) -> Packing | None:
        """None where there is too little padding."""
        tokens = int(lengths_B.sum())
        if tokens > (1 - _WORTH) * len(lengths_B) * longest:
            return None
        unit = max(1, 2 ** (tokens.bit_length() - 1) // _SIZES)
        # Padding stays behind the first texts, as much as each has, until there is enough.
        room_B = longest - lengths_B
        lengths_B = lengths_B + (-tokens % unit - (room_B.cumsum(0) - room_B)).clamp(min=0).minimum(room_B)
        inside_BL = torch.arange(longest, device=lengths_B.device) < lengths_B[:, None]
        return Packing(len(lengths_B), longest, inside_BL.flatten().nonzero()[:, 0], lengths_B.cumsum(0) - lengths_B)

    def pad(self, x_NW: Tensor) -> Tensor:
        """To [B, L, W], zeros in the padding."""
        x_TW: Tensor = _Spread.apply(x_NW, self.flat, self.texts * self.longest)
        return x_TW.view(self.texts, self.longest, -1)

    def leave_out(self, x_BLW: Tensor) -> Tensor:
        """From [B, L, W] to the tokens alone."""
        x_NW: Tensor = _Collect.apply(x_BLW.flatten(0, 1), self.flat)
        return x_NW


class _Spread(torch.autograd.Function):
    """Rows to their positions. Each is taken once, so that the gradient is a copy, not a sum."""

    @staticmethod
    def forward(ctx: Any, x_NW: Tensor, flat_N: Tensor, positions: int) -> Tensor:
        ctx.save_for_backward(flat_N)
        return x_NW.new_zeros(positions, x_NW.shape[1]).index_copy_(0, flat_N, x_NW)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outside_TW: Tensor) -> tuple[Tensor, None, None]:
        return outside_TW.index_select(0, ctx.saved_tensors[0]), None, None


class _Collect(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_TW: Tensor, flat_N: Tensor) -> Tensor:
        ctx.save_for_backward(flat_N)
        ctx.positions = len(x_TW)
        return x_TW.index_select(0, flat_N)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outside_NW: Tensor) -> tuple[Tensor, None]:
        zeros_TW = outside_NW.new_zeros(ctx.positions, outside_NW.shape[1])
        return zeros_TW.index_copy_(0, ctx.saved_tensors[0], outside_NW), None

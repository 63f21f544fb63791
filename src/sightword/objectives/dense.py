"""The loss of LSeg (arXiv 2201.03546, section 3.3): at each pixel, the cross-entropy of a softmax over the labels that
its picture is held against; pixels without a label do not count.

Shapes: B batch, N labels, h x w the maps of scores, H x W the masks.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from sightword.data.pairs import VOID
from sightword.towers.dpt import enlarge

_NUMBERS = 1 << 23  # of enlarged scores at a time: 32 MiB in float32


def dense_cross_entropy(scores_BNhw: Tensor, masks_BHW: Tensor, smoothing: float = 0.0) -> Tensor:
    """The sum over all pixels, in float32. masks: index of the label, or VOID. smoothing: the part of each target that
    is spread over all labels.

    Scores are enlarged to the size of the masks, a few pictures at a time, and their gradients are computed on the way:
    at no time is there more of them than that.
    """
    loss: Tensor = _DenseCrossEntropy.apply(scores_BNhw, masks_BHW, smoothing)
    return loss


class _DenseCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores_BNhw: Tensor, masks_BHW: Tensor, smoothing: float) -> Tensor:
        size = masks_BHW.shape[1:]
        at_once = max(1, _NUMBERS // (scores_BNhw.shape[1] * size.numel()))
        wanted = ctx.needs_input_grad[0]
        loss = torch.zeros((), device=scores_BNhw.device)
        gradient = torch.empty_like(scores_BNhw) if wanted else None
        for at in range(0, len(scores_BNhw), at_once):
            rows = slice(at, at + at_once)
            with torch.set_grad_enabled(wanted), torch.autocast(scores_BNhw.device.type, enabled=False):
                leaf = scores_BNhw[rows].detach().float().requires_grad_(wanted)
                target = masks_BHW[rows].long()
                part = F.cross_entropy(
                    enlarge(leaf, size), target, ignore_index=VOID, reduction="sum", label_smoothing=smoothing
                )
            loss += part.detach()
            if gradient is not None:
                (found,) = torch.autograd.grad(part, leaf)
                gradient[rows] = found
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outside: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outside, None, None

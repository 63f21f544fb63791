"""The loss of LSeg (arXiv 2201.03546, section 3.3): at each pixel, the cross-entropy of a softmax over the labels that
its picture is held against; pixels without a label do not count. And a loss of our own beside it, which names each
patch of the image tower among all names that training has: 20 labels a picture teach few names a step.

Shapes: B batch, N labels of a picture, M names, C joint space, h x w maps of scores or patches, H x W the masks.
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


def named_patches(patches_BChw: Tensor, labels_BNC: Tensor, names_MC: Tensor, scale: Tensor) -> Tensor:
    """The log-probability of each of a picture's labels at each of its patches, [B, N, h, w], by a softmax of scaled
    cosines over all names (of which the labels are some). labels, names: unit vectors."""
    with torch.autocast(patches_BChw.device.type, enabled=False):
        unit_BCP = F.normalize(patches_BChw.float().flatten(2), dim=1)
        all_BP = (scale * names_MC @ unit_BCP).logsumexp(dim=1)
        logits_BNP = scale * labels_BNC @ unit_BCP
        return (logits_BNP - all_BP[:, None]).unflatten(2, patches_BChw.shape[2:])


def patch_cross_entropy(named_BNhw: Tensor, masks_BHW: Tensor) -> Tensor:
    """The sum over all pixels of what their patch says of their label, as -log. masks: as above."""
    (B, N, h, w), (H, W) = named_BNhw.shape, masks_BHW.shape[1:]
    device = masks_BHW.device
    rows = torch.arange(H, device=device) * h // H
    columns = torch.arange(W, device=device) * w // W
    cell_HW = rows[:, None] * w + columns
    counted_BHW = masks_BHW != VOID
    place_BHW = masks_BHW.long().clamp(min=0) * (h * w) + cell_HW
    pixels = named_BNhw.new_zeros(B, N * h * w).scatter_add_(1, place_BHW.flatten(1), counted_BHW.flatten(1).float())
    return -(pixels.view_as(named_BNhw) * named_BNhw).sum()

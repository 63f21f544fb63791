"""The pairwise sigmoid loss of SigLIP (arXiv 2303.15343, section 3, algorithm 1).

Each pair is a yes or no of its own, so that the gradient is known as soon as a logit is: tiles of logits are made
once, for the loss and the gradients together, and the matrix is never held. Over several ranks each makes the rows of
its own images.

Shapes: B batch, K further texts; R rows of this rank, N texts of all ranks, C all columns, D joint space; r, c a tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from sightword.objectives.fused import asked, fuse
from sightword.objectives.ranks import Ranks
from sightword.objectives.tiles import Columns, checked, columns, tiles


class Sigmoid:
    """image_BD, text_BD: unit vectors, row i of one belongs to row i of the other. scale: 1 / temperature. bias: of the
    logits, about -log(batch) at the start.

    The loss of a pair is -log sigmoid(z (scale * cosine + bias)), z = 1 for a positive and -1 else; the result is their
    sum over the number of images, a scalar. labels, more_text_KD, more_labels, group: as for InfoNCE.

    bfloat16 vectors, and any but float64 under bfloat16 autocast, are multiplied in bfloat16 where a GPU does so faster
    (see `fused`); sums and gradients are float32.

    Memory beyond the inputs and their gradients: some tens of megabytes on a CPU, whatever the batch. Cannot be
    differentiated twice.
    Raises ValueError: where the shapes do not fit.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self.ranks = Ranks(group)

    def __call__(
        self,
        image_BD: Tensor,
        text_BD: Tensor,
        scale: Tensor | float,
        bias: Tensor | float,
        labels: Tensor | None = None,
        more_text_KD: Tensor | None = None,
        more_labels: Tensor | None = None,
    ) -> Tensor:
        bf16 = asked(image_BD, text_BD, *([] if more_text_KD is None else [more_text_KD]))
        image_BD, text_BD, more = checked(image_BD, text_BD, labels, more_text_KD)
        scale, bias = (torch.as_tensor(x, dtype=image_BD.dtype, device=image_BD.device) for x in (scale, bias))
        loss: Tensor = _Sigmoid.apply(image_BD, text_BD, more, scale, bias, (labels, more_labels), self.ranks, bf16)
        return loss


class _Sigmoid(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        image_RD: Tensor,
        text_RD: Tensor,
        more_KD: Tensor | None,
        scale: Tensor,
        bias: Tensor,
        marks: tuple[Tensor | None, Tensor | None],
        ranks: Ranks,
        bf16: bool,
    ) -> Tensor:
        needs = ctx.needs_input_grad
        with torch.autocast(image_RD.device.type, enabled=False):
            held = columns(text_RD, marks[0], more_KD, marks[1], ranks)
            fused = None
            if bf16:
                image_RD, held, fused = fuse(image_RD, held, scale)
            image_grad_RD = torch.zeros_like(image_RD) if needs[0] or needs[3] else None
            column_grad_CD = torch.zeros_like(held.vectors) if needs[1] or needs[2] else None
            loss, bias_grad = image_RD.new_zeros(()), image_RD.new_zeros(())
            if fused is not None:
                for rows, columns_, grad_rc in fused.sigmoid(bias, loss, bias_grad, any(needs)):
                    fused.add(image_grad_RD, column_grad_CD, rows, columns_, grad_rc)
            else:
                for rows, columns_, grad_rc in _gradients(scale * image_RD, bias, held, loss, bias_grad):
                    if image_grad_RD is not None:
                        image_grad_RD[rows].addmm_(grad_rc, held.vectors[columns_])
                    if column_grad_CD is not None:
                        column_grad_CD[columns_].addmm_(grad_rc.T, image_RD[rows])
            # Averaging over the ranks divides by their number.
            share = ranks.count / held.texts
            scale_grad = None if image_grad_RD is None else (image_grad_RD * image_RD).sum() * share
            if image_grad_RD is not None:
                image_grad_RD.mul_(scale * share)
            if column_grad_CD is not None:
                ranks.sum_(column_grad_CD).mul_(scale * share)
            text_grad_RD = None if column_grad_CD is None else column_grad_CD[held.own]
            more_grad_KD = None if column_grad_CD is None or more_KD is None else column_grad_CD[held.own_more]
            ctx.gradients = (image_grad_RD, text_grad_RD, more_grad_KD, scale_grad, bias_grad * share)
            return ranks.sum_(loss) / held.texts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outside: Tensor) -> tuple[Tensor | None, ...]:
        gradients = tuple(
            gradient * outside if needed and gradient is not None else None
            for gradient, needed in zip(ctx.gradients, ctx.needs_input_grad, strict=False)
        )
        return *gradients, None, None, None


def _gradients(
    scaled_RD: Tensor, bias: Tensor, held: Columns, loss: Tensor, bias_grad: Tensor
) -> Iterator[tuple[slice, slice, Tensor]]:
    """rows, columns and [r, c]: sigmoid less target. Adds to loss and bias_grad."""
    for tile in tiles(scaled_RD, held.vectors):
        positive_rc, grad_rc = held.positives(tile), tile.logits
        # Row r's own partner is the only positive where there are no labels: a diagonal of some tiles.
        own_r = grad_rc.diagonal(offset=held.own.start + tile.rows.start - tile.columns.start)
        count = len(own_r) if positive_rc is None else positive_rc.sum()
        loss -= (own_r if positive_rc is None else grad_rc * positive_rc).sum() + bias * count
        for _, part in tile.parts():
            part += bias
            loss += F.softplus(part).sum()
            bias_grad += part.sigmoid_().sum()
        bias_grad -= count
        if positive_rc is None:
            own_r.sub_(1)
        else:
            grad_rc.sub_(positive_rc.to(grad_rc.dtype))
        yield tile.rows, tile.columns, grad_rc

"""Symmetric InfoNCE, the loss of CLIP (arXiv 2103.00020, section 2.3), with several positives a row where labels say so
(UniCL of Florence, arXiv 2111.11432, section 2.2).

The logits of all pairs are never held: tiles of them are made once for the two log-sums, and once more for the
gradient, which is softmax less target on both sides. Over several ranks each makes the rows of its own images alone,
and the log-sums of the texts are added up between them.

Shapes: B batch, K further texts; R rows of this rank, N texts of all ranks, C all columns, D joint space;
r rows, c columns and n texts of a tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from sightword.objectives.fused import Fused, asked, fuse
from sightword.objectives.ranks import Ranks
from sightword.objectives.tiles import Columns, Tile, TileSums, checked, columns, tiles

# Exponentials of numbers that lie so far apart still have a common factor that neither over- nor underflows.
_SPREAD = 60.0


class InfoNCE:
    """image_BD, text_BD: unit vectors, row i of one belongs to row i of the other. scale: 1 / temperature.

    labels: int64 [B], [B, M] or None. Rows that agree in a label (their m-th, for any m) are positives of each other,
    each with an equal share of the target: for a row with positives P the loss is the mean over P of
    -log softmax(scale * cosine). Without labels, P is the row's own partner. more_text_KD, more_labels: further texts,
    which the pictures (and only they) are held against, such as hard negatives; where such a text has the label of a
    row, it is one of the row's positives. The result is the mean over rows of both directions, a scalar.

    smoothing: the part of each target that is spread evenly over all columns.
    group: ranks that share a batch, each with rows (and further texts) of its own. The result is then that of the whole
    batch on every rank, and the gradients are those of the whole batch once they are averaged over the ranks, as
    DistributedDataParallel does.

    bfloat16 vectors, and any but float64 under bfloat16 autocast, are multiplied in bfloat16 where a GPU does so faster
    (see `fused`); sums and gradients are float32.

    Memory beyond the inputs and their gradients: some tens of megabytes on a CPU, whatever the batch. Cannot be
    differentiated twice.
    Raises ValueError: where the shapes do not fit.
    """

    def __init__(self, smoothing: float = 0.0, group: dist.ProcessGroup | None = None) -> None:
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing is a share, at least 0 and less than 1, not {smoothing}")
        self.smoothing = smoothing
        self.ranks = Ranks(group)

    def __call__(
        self,
        image_BD: Tensor,
        text_BD: Tensor,
        scale: Tensor | float,
        labels: Tensor | None = None,
        more_text_KD: Tensor | None = None,
        more_labels: Tensor | None = None,
    ) -> Tensor:
        bf16 = asked(image_BD, text_BD, *([] if more_text_KD is None else [more_text_KD]))
        image_BD, text_BD, more = checked(image_BD, text_BD, labels, more_text_KD)
        scale = torch.as_tensor(scale, dtype=image_BD.dtype, device=image_BD.device)
        marks = (labels, more_labels)
        loss: Tensor = _InfoNCE.apply(image_BD, text_BD, more, scale, marks, self.smoothing, self.ranks, bf16)
        return loss


@dataclass(frozen=True)
class _Sums:
    """What the first pass leaves. rows [R], texts [N]: their log-sums. row_positives [R], text_positives [N]: how many
    positives each has, None where that is one. near: no logit is further from 0 than _SPREAD, by the lengths of the
    vectors: exponentials then need no shift, and nothing has to be looked for."""

    near: bool
    rows: Tensor
    texts: Tensor
    row_positives: Tensor | None
    text_positives: Tensor | None
    loss: Tensor


class _InfoNCE(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        image_RD: Tensor,
        text_RD: Tensor,
        more_KD: Tensor | None,
        scale: Tensor,
        marks: tuple[Tensor | None, Tensor | None],
        smoothing: float,
        ranks: Ranks,
        bf16: bool,
    ) -> Tensor:
        with torch.autocast(image_RD.device.type, enabled=False):
            held = columns(text_RD, marks[0], more_KD, marks[1], ranks)
            fused = None
            if bf16:
                image_RD, held, fused = fuse(image_RD, held, scale)
                text_RD = held.vectors[held.own]
            sums = _first_pass(image_RD, text_RD, held, scale, smoothing, ranks, fused)
        ctx.save_for_backward(image_RD, text_RD, scale)
        ctx.held, ctx.sums, ctx.smoothing, ctx.ranks, ctx.fused = held, sums, smoothing, ranks, fused
        return sums.loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outside: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast(outside.device.type, enabled=False):
            return *_second_pass(ctx, outside), None, None, None, None


def _first_pass(
    image_RD: Tensor,
    text_RD: Tensor,
    held: Columns,
    scale: Tensor,
    smoothing: float,
    ranks: Ranks,
    fused: Fused | None,
) -> _Sums:
    R, N = len(image_RD), held.texts
    row_R, text_N = image_RD.new_full((R,), -torch.inf), image_RD.new_full((N,), -torch.inf)
    # Of the positives: the sum of their logits and their number, by row and by text.
    labelled = held.labels is not None
    row_logit_R, row_count_R = image_RD.new_zeros(R), image_RD.new_zeros(R) if labelled else None
    text_logit_N, text_count_N = image_RD.new_zeros(N), image_RD.new_zeros(N) if labelled else None
    scaled_RD = scale * image_RD
    near = fused is None and R > 0 and float(_longest(scaled_RD) * _longest(held.vectors)) <= _SPREAD
    for found in fused.softmax_sums() if fused else _sums(scaled_RD, held, near):
        rows, texts = found.rows, found.texts
        if found.positives and row_count_R is not None and text_count_N is not None:
            row_logit_R[rows] += found.positives[0]
            row_count_R[rows] += found.positives[1]
            text_logit_N[texts] += found.positives[2]
            text_count_N[texts] += found.positives[3]
        row_R[rows] = torch.logaddexp(row_R[rows], found.by_row)
        text_N[texts] = torch.logaddexp(text_N[texts], found.by_text)
    text_N = ranks.logsumexp(text_N)
    # Differences before sums: both sides are many times the loss.
    own_text_R = text_N[held.own]
    if row_count_R is None or text_count_N is None:
        row_target_R = text_target_R = (scaled_RD * text_RD).sum(dim=1)
    else:
        row_target_R = row_logit_R / row_count_R
        text_target_R = (ranks.sum_(text_logit_N) / ranks.sum_(text_count_N))[held.own]
    if smoothing:
        every_D, texts_D = held.vectors.mean(dim=0), held.vectors[:N].mean(dim=0)
        row_target_R = (1 - smoothing) * row_target_R + smoothing * (scaled_RD @ every_D)
        text_target_R = (1 - smoothing) * text_target_R + smoothing * (scaled_RD @ texts_D)
    loss = ranks.sum_((row_R - row_target_R).sum() + (own_text_R - text_target_R).sum()) / (2 * N)
    return _Sums(near, row_R, text_N, row_count_R, text_count_N, loss)


def _sums(scaled_RD: Tensor, held: Columns, near: bool) -> Iterator[TileSums]:
    for tile in tiles(scaled_RD, held.vectors):
        texts = held.within(tile.columns)
        n = texts.stop - texts.start
        positive_rc, positives = held.positives(tile), None
        if positive_rc is not None:
            kept_rc = tile.logits * positive_rc
            by_row = kept_rc.sum(dim=1), positive_rc.sum(dim=1)
            positives = *by_row, kept_rc[:, :n].sum(dim=0), positive_rc[:, :n].sum(dim=0)
        row_r, text_n = _log_sums(tile, n, near)
        yield TileSums(tile.rows, texts, row_r, text_n, positives)


def _longest(vectors: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vectors, dim=1).max()


def _log_sums(tile: Tile, texts: int, near: bool) -> tuple[Tensor, Tensor]:
    """Over the columns and (of the first `texts`) over the rows. Overwrites the logits."""
    logits_rc = tile.logits
    highest = logits_rc.new_zeros(())
    if not near:
        row_top_r, top_n = logits_rc.amax(dim=1), logits_rc[:, :texts].amax(dim=0)
        highest = row_top_r.max()
        if float(highest - torch.cat([row_top_r, top_n]).min()) > _SPREAD:
            return logits_rc.logsumexp(dim=1), logits_rc[:, :texts].logsumexp(dim=0)
    row_r, text_n = logits_rc.new_empty(len(logits_rc)), logits_rc.new_zeros(texts)
    for rows, part in tile.parts():
        (part if near else part.sub_(highest)).exp_()
        torch.sum(part, dim=1, out=row_r[rows])
        text_n += part[:, :texts].sum(dim=0)
    return row_r.log_().add_(highest), text_n.log_().add_(highest)


def _second_pass(ctx: Any, outside: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of image, text, further texts and scale."""
    image_RD, text_RD, scale = ctx.saved_tensors
    held, sums, ranks, fused = ctx.held, ctx.sums, ctx.ranks, ctx.fused
    kept, N, C = 1 - ctx.smoothing, held.texts, len(held.vectors)
    wants_image, wants_text, wants_more, wants_scale = ctx.needs_input_grad[:4]
    image_grad_RD = torch.zeros_like(image_RD) if wants_image or wants_scale else None
    column_grad_CD = torch.zeros_like(held.vectors) if wants_text or wants_more else None
    if fused is not None:
        found = fused.softmax_gradients(sums.rows, sums.texts, sums.row_positives, sums.text_positives, kept)
    else:
        found = _gradients(scale * image_RD, held, sums, kept)
    for rows, columns_, grad_rc in found:
        if fused is not None:
            fused.add(image_grad_RD, column_grad_CD, rows, columns_, grad_rc)
            continue
        if image_grad_RD is not None:
            image_grad_RD[rows].addmm_(grad_rc, held.vectors[columns_])
        if column_grad_CD is not None:
            column_grad_CD[columns_].addmm_(grad_rc.T, image_RD[rows])
    # What is the same in each tile: the targets of pairs that have one positive, and the part spread over all.
    if held.labels is None and fused is None:
        if image_grad_RD is not None:
            image_grad_RD.sub_(text_RD, alpha=2 * kept)
        if column_grad_CD is not None:
            column_grad_CD[held.own].sub_(image_RD, alpha=2 * kept)
    if ctx.smoothing:
        even_C = image_RD.new_full((C,), ctx.smoothing / C)
        even_C[:N] += ctx.smoothing / N
        if image_grad_RD is not None:
            image_grad_RD.sub_(even_C @ held.vectors)
        if column_grad_CD is not None:
            column_grad_CD.sub_(torch.outer(even_C, image_RD.sum(dim=0)))
    # Averaging over the ranks divides by their number.
    factor = outside * (ranks.count / (2 * N))
    scale_grad = None
    if wants_scale and image_grad_RD is not None:
        scale_grad = (image_grad_RD * image_RD).sum() * factor
    text_grad_RD = more_grad_KD = None
    if column_grad_CD is not None:
        ranks.sum_(column_grad_CD).mul_(factor * scale)
        text_grad_RD = column_grad_CD[held.own]
        more_grad_KD = column_grad_CD[held.own_more] if wants_more else None
    image_grad_RD = image_grad_RD.mul_(factor * scale) if wants_image and image_grad_RD is not None else None
    return image_grad_RD, text_grad_RD, more_grad_KD, scale_grad


def _gradients(scaled_RD: Tensor, held: Columns, sums: _Sums, kept: float) -> Iterator[tuple[slice, slice, Tensor]]:
    """rows, columns and [r, c]: both softmaxes, less `kept` of the targets where there are labels."""
    for tile in tiles(scaled_RD, held.vectors):
        texts = held.within(tile.columns)
        n = texts.stop - texts.start
        grad_rc = _softmaxes(tile, sums.rows[tile.rows], sums.texts[texts], sums.near)
        positive_rc = held.positives(tile)
        if positive_rc is not None and sums.row_positives is not None and sums.text_positives is not None:
            share_rc = (kept / sums.row_positives[tile.rows])[:, None].repeat(1, grad_rc.shape[1])
            share_rc[:, :n] += kept / sums.text_positives[texts]
            grad_rc.sub_(share_rc.mul_(positive_rc))
        yield tile.rows, tile.columns, grad_rc


def _softmaxes(tile: Tile, row_r: Tensor, text_n: Tensor, near: bool) -> Tensor:
    """Softmax by row and, of the texts, by column, added. Overwrites the logits."""
    logits_rc, n = tile.logits, len(text_n)
    middle = row_r.new_zeros(()) if near else row_r.mean()
    if not near and float((torch.cat([row_r, text_n]) - middle).abs().max()) > _SPREAD / 2:
        by_text_rn = (logits_rc[:, :n] - text_n).exp_()
        by_row_rc = logits_rc.sub_(row_r[:, None]).exp_()
        by_row_rc[:, :n] += by_text_rn
        return by_row_rc
    # One exponential for both: exp(x - row) + exp(x - text) = exp(x - m) (exp(m - row) + exp(m - text)).
    row_r, text_c = (middle - row_r).exp(), F.pad((middle - text_n).exp(), (0, logits_rc.shape[1] - n))
    for rows, part in tile.parts():
        (part if near else part.sub_(middle)).exp_().mul_(row_r[rows, None] + text_c)
    return logits_rc

"""Triton kernels for a tile of pairs: its logits are made in registers, and what is left in memory is what the losses
need of them. `fused` launches them.

Vectors come in bfloat16: their products are exact in float32, and all else is float32. Only whole blocks are computed;
what lies beyond the tile is masked.

Shapes: R rows, C columns of the tile, of which the first N are texts of the batch (the rest are further ones), D joint
space, M labels a row. M = 0: no labels, and the only positive of row r is column r + OWN, if there is such a column.
Blocks: BM rows, BN columns, BK of what is summed over.
"""

from __future__ import annotations

import triton
import triton.language as tl

# Sizes that differ from tile to tile: nothing is gained by a kernel for each kind of them.
_SIZES = ["R", "C", "N", "OWN"]


@triton.jit
def _products(vectors_R, vectors_C, row_m, column_n, R, C, D, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    """float32 [BM, BN]: cosines of the block."""
    sums_mn = tl.zeros((BM, BN), tl.float32)
    for start in range(0, D, BK):
        k = start + tl.arange(0, BK)
        inside_m, inside_n = (row_m < R)[:, None] & (k < D)[None, :], (column_n < C)[None, :] & (k < D)[:, None]
        row_mk = tl.load(vectors_R + row_m[:, None] * D + k[None, :], mask=inside_m, other=0.0)
        column_kn = tl.load(vectors_C + column_n[None, :] * D + k[:, None], mask=inside_n, other=0.0)
        sums_mn = tl.dot(row_mk, column_kn, sums_mn)
    return sums_mn


@triton.jit
def _positives(labels_R, labels_C, row_m, column_n, R, C, OWN, M: tl.constexpr):
    """bool [BM, BN], False outside of the tile."""
    inside = (row_m < R)[:, None] & (column_n < C)[None, :]
    if M == 0:
        found = row_m[:, None] + OWN == column_n[None, :]
    else:
        found = row_m[:, None] < 0
        for m in tl.static_range(M):
            row = tl.load(labels_R + row_m * M + m, mask=row_m < R, other=0)
            column = tl.load(labels_C + column_n * M + m, mask=column_n < C, other=0)
            found = found | (row[:, None] == column[None, :])
    return found & inside


@triton.jit(do_not_specialize=_SIZES)
def softmax_sums(
    vectors_R, vectors_C, scale, labels_R, labels_C,
    row_log, column_log, row_logit, column_logit, row_count, column_count,
    R, C, OWN, D, M: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """Of each block: row_log [blocks of columns, R] and column_log [blocks of rows, C], log-sums of its logits; with
    labels, of its positives the sums of logits and the numbers, in the same shapes."""
    i, j = tl.program_id(0), tl.program_id(1)
    row_m, column_n = i * BM + tl.arange(0, BM), j * BN + tl.arange(0, BN)
    at_m, at_n = j * R + row_m, i * C + column_n
    logits = tl.load(scale) * _products(vectors_R, vectors_C, row_m, column_n, R, C, D, BM, BN, BK)
    if M > 0:
        positive = _positives(labels_R, labels_C, row_m, column_n, R, C, OWN, M)
        kept, one = tl.where(positive, logits, 0.0), tl.where(positive, 1.0, 0.0)
        tl.store(row_logit + at_m, tl.sum(kept, 1), mask=row_m < R)
        tl.store(row_count + at_m, tl.sum(one, 1), mask=row_m < R)
        tl.store(column_logit + at_n, tl.sum(kept, 0), mask=column_n < C)
        tl.store(column_count + at_n, tl.sum(one, 0), mask=column_n < C)
    # A block has a row and a column of the tile: what is looked for along them is never all masked where it is stored.
    by_row = tl.where((column_n < C)[None, :], logits, float("-inf"))
    top = tl.max(by_row, 1)
    tl.store(row_log + at_m, top + tl.log(tl.sum(tl.exp(by_row - top[:, None]), 1)), mask=row_m < R)
    by_column = tl.where((row_m < R)[:, None], logits, float("-inf"))
    top = tl.max(by_column, 0)
    tl.store(column_log + at_n, top + tl.log(tl.sum(tl.exp(by_column - top[None, :]), 0)), mask=column_n < C)


@triton.jit(do_not_specialize=_SIZES)
def softmax_gradient(
    vectors_R, vectors_C, scale, labels_R, labels_C, row_log, text_log, row_count, text_count, kept, gradient,
    R, C, N, OWN, D, M: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """gradient [R, C]: softmax by row and, of the texts, by column, less `kept` of the targets. The targets leave here,
    where all is in registers: what is left of a pair that is nearly learned is small, and is rounded as such."""
    i, j = tl.program_id(0), tl.program_id(1)
    row_m, column_n = i * BM + tl.arange(0, BM), j * BN + tl.arange(0, BN)
    logits = tl.load(scale) * _products(vectors_R, vectors_C, row_m, column_n, R, C, D, BM, BN, BK)
    by_row = tl.exp(logits - tl.load(row_log + row_m, mask=row_m < R, other=0.0)[:, None])
    by_text = tl.exp(logits - tl.load(text_log + column_n, mask=column_n < N, other=float("inf"))[None, :])
    if M == 0:
        share_m, share_n = tl.full((BM,), kept, tl.float32), tl.full((BN,), kept, tl.float32)
    else:
        share_m = kept / tl.load(row_count + row_m, mask=row_m < R, other=1.0)
        share_n = kept / tl.load(text_count + column_n, mask=column_n < N, other=float("inf"))
    positive = _positives(labels_R, labels_C, row_m, column_n, R, C, OWN, M)
    # Each softmax less its own target, and then their sum: the other order would lose digits.
    share_mn = tl.where(positive, share_m[:, None], 0.0), tl.where(positive, share_n[None, :], 0.0)
    found = (by_row - share_mn[0]) + (by_text - share_mn[1])
    inside = (row_m < R)[:, None] & (column_n < C)[None, :]
    tl.store(gradient + row_m[:, None] * C + column_n[None, :], found, mask=inside)


@triton.jit
def _log1p(z):
    """log(1 + z), 0 <= z <= 1, to float32: 2 artanh(z / (2 + z)). The hardware's logarithm is too rough near 1, and a
    sum over all pairs is made of such."""
    s = z / (2.0 + z)
    w = s * s
    series = 1.0 / 13 + w * (1.0 / 15)
    series = 1.0 / 9 + w * (1.0 / 11 + w * series)
    series = 1.0 / 5 + w * (1.0 / 7 + w * series)
    return 2.0 * s * (1.0 + w * (1.0 / 3 + w * series))


@triton.jit(do_not_specialize=_SIZES)
def sigmoid(
    vectors_R, vectors_C, scale, labels_R, labels_C, bias, loss, bias_gradient, gradient,
    R, C, OWN, D, M: tl.constexpr, WANTED: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """loss, bias_gradient: sums of each block [blocks of rows, blocks of columns]. gradient [R, C]: sigmoid less
    target, if it is wanted."""
    i, j = tl.program_id(0), tl.program_id(1)
    row_m, column_n = i * BM + tl.arange(0, BM), j * BN + tl.arange(0, BN)
    products = _products(vectors_R, vectors_C, row_m, column_n, R, C, D, BM, BN, BK)
    logits = tl.load(scale) * products + tl.load(bias)
    inside = (row_m < R)[:, None] & (column_n < C)[None, :]
    positive = _positives(labels_R, labels_C, row_m, column_n, R, C, OWN, M)
    against = tl.where(positive, -logits, logits)  # the loss of a pair is softplus of it
    small = tl.exp(-tl.abs(against))
    found = tl.where(inside, tl.maximum(against, 0.0) + _log1p(small), 0.0)
    wrong = tl.where(against >= 0, 1.0, small) / (1.0 + small)  # sigmoid(against), no digit lost where it is small
    slope = tl.where(inside, tl.where(positive, -wrong, wrong), 0.0)
    at = i * tl.num_programs(1) + j
    tl.store(loss + at, tl.sum(tl.sum(found, 1), 0))
    tl.store(bias_gradient + at, tl.sum(tl.sum(slope, 1), 0))
    if WANTED:
        tl.store(gradient + row_m[:, None] * C + column_n[None, :], slope, mask=inside)


@triton.jit(do_not_specialize=["R", "C"])
def add_product(
    weights, vectors, out, R, C, D, stride_R, stride_C, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr
):
    """out float32 [R, D] += weights float32 [R, C] (strides stride_R, stride_C) times vectors bfloat16 [C, D].

    Each weight goes in as two bfloat16, itself and what that rounding left: 16 binary digits at the speed of
    bfloat16."""
    row_m, d = tl.program_id(0) * BM + tl.arange(0, BM), tl.program_id(1) * BN + tl.arange(0, BN)
    sums_mn = tl.zeros((BM, BN), tl.float32)
    for start in range(0, C, BK):
        k = start + tl.arange(0, BK)
        inside_m, inside_n = (row_m < R)[:, None] & (k < C)[None, :], (k < C)[:, None] & (d < D)[None, :]
        weight_mk = tl.load(weights + row_m[:, None] * stride_R + k[None, :] * stride_C, mask=inside_m, other=0.0)
        vector_kn = tl.load(vectors + k[:, None] * D + d[None, :], mask=inside_n, other=0.0)
        high = weight_mk.to(tl.bfloat16)
        low = (weight_mk - high.to(tl.float32)).to(tl.bfloat16)
        sums_mn = tl.dot(high, vector_kn, sums_mn)
        sums_mn = tl.dot(low, vector_kn, sums_mn)
    place, inside = out + row_m[:, None] * D + d[None, :], (row_m < R)[:, None] & (d < D)[None, :]
    tl.store(place, tl.load(place, mask=inside, other=0.0) + sums_mn, mask=inside)

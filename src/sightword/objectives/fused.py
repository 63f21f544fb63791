"""Where the losses over all pairs go through Triton: bfloat16 vectors on an NVIDIA GPU from Ampere on.

A tile's logits then never leave the registers, and its products are tensor cores' work. float32 stays with plain torch:
its products are most of the time there, and cuBLAS makes them as fast as the hardware allows. bfloat16 is asked for by
the vectors themselves, or by autocast around the loss; the sums are float32 in any case, so that both ways give the
same to about five digits for the same bfloat16 vectors.

Shapes: R rows, N texts, C columns, D joint space, M labels; r rows, c columns and n texts of a tile.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sightword.errors import SightwordWarning
from sightword.objectives.tiles import Columns, TileSums, spans, tile_size

if TYPE_CHECKING:
    from types import ModuleType

SWITCH = "SIGHTWORD_TRITON"  # 0: plain torch everywhere
# Rows, columns and depth of a block, and how it is worked on: at most 96 KiB of shared memory, which all GPUs from
# Ampere on have. With labels a block is smaller, since a larger one did not fit the registers.
LOGITS = {"BM": 128, "BN": 128, "BK": 64, "num_warps": 8, "num_stages": 3}
LABELLED = {"BM": 128, "BN": 64, "BK": 64, "num_warps": 8, "num_stages": 3}
PRODUCT = {"BM": 128, "BN": 128, "BK": 32, "num_warps": 8, "num_stages": 3}
_NEAR = 1e-3  # what a kernel may differ from float64 by, of the largest value, before it is not trusted


def asked(*vectors: Tensor) -> bool:
    """Whether these are to be multiplied in bfloat16, and here is what can."""
    device = vectors[0].device
    half = torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) == torch.bfloat16
    bf16 = all(tensor.dtype == torch.bfloat16 for tensor in vectors)
    exact = any(tensor.dtype == torch.float64 for tensor in vectors)
    return (half or bf16) and not exact and suits(device)


def suits(device: torch.device) -> bool:
    if device.type != "cuda" or torch.version.cuda is None or os.environ.get(SWITCH) == "0":
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0) and find_spec("triton") is not None


def fuse(image_RD: Tensor, held: Columns, scale: Tensor) -> tuple[Tensor, Columns, Fused | None]:
    """The vectors rounded to bfloat16 (as float32) with what computes their loss; as they are, with None, where the
    kernels do not work."""
    marks = 0 if held.labels is None else held.labels[0].shape[1]
    if not works(image_RD.device, image_RD.shape[1], marks):
        return image_RD, held, None
    image_RD, held = image_RD.bfloat16().float(), replace(held, vectors=held.vectors.bfloat16().float())
    return image_RD, held, Fused(image_RD, held, scale)


class Fused:
    """image_RD: the rows, and held: what they are held against, both with values that bfloat16 has. scale: float32, a
    number."""

    def __init__(self, image_RD: Tensor, held: Columns, scale: Tensor) -> None:
        self.image_RD, self.vectors_CD = image_RD.bfloat16().contiguous(), held.vectors.bfloat16().contiguous()
        self.held, self.scale = held, scale.detach().contiguous()
        self.labels = (None, None) if held.labels is None else tuple(marks.contiguous() for marks in held.labels)
        self.M = 0 if self.labels[0] is None else self.labels[0].shape[1]
        self.high, self.wide = tile_size(len(image_RD), len(held.vectors), image_RD.device)
        self.block = LABELLED if self.M else LOGITS
        self.kernels = _kernels()

    def softmax_sums(self) -> Iterator[TileSums]:
        new = self.scale.new_empty
        for rows, columns in spans(len(self.image_RD), len(self.vectors_CD), self.high, self.wide):
            r, c = rows.stop - rows.start, columns.stop - columns.start
            blocks = _blocks(r, c, self.block)
            by_row, by_column = ([new((blocks[1 - side], (r, c)[side])) for _ in range(3)] for side in (0, 1))
            with torch.cuda.device_of(self.image_RD):
                self.kernels.softmax_sums[blocks](
                    *self._tile(rows, columns), by_row[0], by_column[0], by_row[1], by_column[1], by_row[2],
                    by_column[2], r, c, self._own(rows, columns), self.image_RD.shape[1], M=self.M, **self.block,
                )  # fmt: skip
            texts = self.held.within(columns)
            n = texts.stop - texts.start
            positives = None
            if self.M:
                by = [by_row[1].sum(0), by_row[2].sum(0), by_column[1].sum(0)[:n], by_column[2].sum(0)[:n]]
                positives = by[0], by[1], by[2], by[3]
            yield TileSums(rows, texts, by_row[0].logsumexp(0), by_column[0].logsumexp(0)[:n], positives)

    def softmax_gradients(
        self,
        row_log_R: Tensor,
        text_log_N: Tensor,
        row_count_R: Tensor | None,
        text_count_N: Tensor | None,
        kept: float,
    ) -> Iterator[tuple[slice, slice, Tensor]]:
        """rows, columns and [r, c]: softmaxes less `kept` of the targets. The memory is the next tile's as well."""
        memory = self.scale.new_empty(self.high * self.wide)
        for rows, columns in spans(len(self.image_RD), len(self.vectors_CD), self.high, self.wide):
            r, c = rows.stop - rows.start, columns.stop - columns.start
            texts = self.held.within(columns)
            n = texts.stop - texts.start
            # Of a tile of further texts alone nothing is read there.
            text_log, text_count = (
                None if values is None else values[texts] if n else values for values in (text_log_N, text_count_N)
            )
            gradient_rc = memory[: r * c].view(r, c)
            with torch.cuda.device_of(self.image_RD):
                self.kernels.softmax_gradient[_blocks(r, c, self.block)](
                    *self._tile(rows, columns), row_log_R[rows], text_log,
                    None if row_count_R is None else row_count_R[rows], text_count, kept, gradient_rc, r, c, n,
                    self._own(rows, columns), self.image_RD.shape[1], M=self.M, **self.block,
                )  # fmt: skip
            yield rows, columns, gradient_rc

    def sigmoid(
        self, bias: Tensor, loss: Tensor, bias_gradient: Tensor, gradients: bool
    ) -> Iterator[tuple[slice, slice, Tensor]]:
        """rows, columns and [r, c]: sigmoid less target, if `gradients`. Adds to loss and bias_gradient. The memory is
        the next tile's as well."""
        memory = self.scale.new_empty(self.high * self.wide if gradients else 0)
        for rows, columns in spans(len(self.image_RD), len(self.vectors_CD), self.high, self.wide):
            r, c = rows.stop - rows.start, columns.stop - columns.start
            blocks = _blocks(r, c, self.block)
            losses, slopes = self.scale.new_empty(blocks), self.scale.new_empty(blocks)
            gradient_rc = memory[: r * c].view(r, c) if gradients else memory
            with torch.cuda.device_of(self.image_RD):
                self.kernels.sigmoid[blocks](
                    *self._tile(rows, columns), bias, losses, slopes, gradient_rc, r, c,
                    self._own(rows, columns), self.image_RD.shape[1], M=self.M, WANTED=gradients, **self.block,
                )  # fmt: skip
            loss += losses.sum()
            bias_gradient += slopes.sum()
            yield rows, columns, gradient_rc

    def add(
        self,
        image_grad_RD: Tensor | None,
        column_grad_CD: Tensor | None,
        rows: slice,
        columns: slice,
        gradient_rc: Tensor,
    ) -> None:
        """What a tile's gradient makes of those of both sides, as far as they are wanted."""
        if image_grad_RD is not None:
            self._add_product(image_grad_RD[rows], gradient_rc, self.vectors_CD[columns])
        if column_grad_CD is not None:
            self._add_product(column_grad_CD[columns], gradient_rc.T, self.image_RD[rows])

    def _add_product(self, out_mD: Tensor, weights_mk: Tensor, vectors_kD: Tensor) -> None:
        (m, D), k = out_mD.shape, len(vectors_kD)
        with torch.cuda.device_of(out_mD):
            self.kernels.add_product[_blocks(m, D, PRODUCT)](
                weights_mk, vectors_kD, out_mD, m, k, D, weights_mk.stride(0), weights_mk.stride(1), **PRODUCT
            )

    def _tile(self, rows: slice, columns: slice) -> tuple[Tensor | None, ...]:
        row_RM, column_CM = self.labels
        if row_RM is None or column_CM is None:
            return self.image_RD[rows], self.vectors_CD[columns], self.scale, None, None
        return self.image_RD[rows], self.vectors_CD[columns], self.scale, row_RM[rows], column_CM[columns]

    def _own(self, rows: slice, columns: slice) -> int:
        """In which column of the tile the partner of its first row would be."""
        return self.held.own.start + rows.start - columns.start


def _blocks(rows: int, columns: int, block: dict[str, int]) -> tuple[int, int]:
    return -(-rows // block["BM"]), -(-columns // block["BN"])


def _kernels() -> ModuleType:
    from sightword.objectives import kernels  # Triton: there or not

    return kernels


@cache
def works(device: torch.device, dim: int, labels: int) -> bool:
    """Whether the kernels run here and give what float64 does, tried once for vectors of this length and this many
    labels a row (0: none). A warning says where they do not, and plain torch takes over."""
    try:
        apart = _apart(device, dim, labels)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    except Exception as failure:  # whatever a compiler, a driver or a version of Triton may raise
        reason = f"{type(failure).__name__}: {failure}".splitlines()[0]
    else:
        if apart <= _NEAR:
            return True
        reason = f"they differ from float64 by {apart:.1e}"
    warnings.warn(
        f"the losses' Triton kernels are not used on {device} ({reason}); plain torch does the same, slower. "
        f"{SWITCH}=0 says so from the start",
        SightwordWarning,
        stacklevel=2,
    )
    return False


def _apart(device: torch.device, dim: int, labels: int) -> float:
    """The largest difference from float64, of the largest value: a rank's rows, which fill no block, against the texts
    of three and further ones."""
    generator = torch.Generator().manual_seed(0)
    R, N, C, kept = 70, 150, 170, 0.9
    own = slice(40, 40 + R)
    scale, bias = torch.tensor(5.0, device=device), torch.tensor(-3.0, device=device)
    both = (torch.randn(R + C, dim, generator=generator) / dim**0.5).bfloat16().float().to(device)
    image, vectors = both[:R], both[R:]
    marks, positive = None, torch.eye(C, dtype=torch.bool, device=device)[own]
    if labels:
        names = torch.randint(100, (C, labels), generator=generator).to(device)
        marks, positive = (names[own], names), (names[own, None] == names[None]).any(dim=2)
    fused = Fused(image, Columns(vectors, N, own, slice(N, C), marks), scale)

    logits = scale.double() * image.double() @ vectors.double().T
    rows, texts = logits.logsumexp(1), logits[:, :N].logsumexp(0)
    by_row, by_text = positive.sum(1), positive[:, :N].sum(0)
    share = positive / by_row[:, None].double()
    share[:, :N] += positive[:, :N] / by_text.clamp(min=1)
    slope = logits.softmax(1) - kept * share
    slope[:, :N] += logits[:, :N].softmax(0)
    signed = torch.where(positive, -1.0, 1.0) * (logits + bias)

    compared: list[tuple[Tensor, Tensor]] = []

    def gradients(expected: Tensor, tiles: Iterator[tuple[slice, slice, Tensor]]) -> None:
        to_image, to_columns = torch.zeros_like(image), torch.zeros_like(vectors)
        for rows, columns, gradient_rc in tiles:
            fused.add(to_image, to_columns, rows, columns, gradient_rc)
        compared.append((to_image, expected @ vectors.double()))
        compared.append((to_columns, expected.T @ image.double()))

    (sums,) = fused.softmax_sums()  # one tile
    compared += [(sums.by_row, rows), (sums.by_text, texts)]
    row_count, text_count = (by_row.float(), by_text.float()) if labels else (None, None)
    if sums.positives:
        kept_mn = logits * positive
        compared += zip(sums.positives, (kept_mn.sum(1), by_row, kept_mn[:, :N].sum(0), by_text), strict=True)
    gradients(slope, fused.softmax_gradients(rows.float(), texts.float(), row_count, text_count, kept))
    loss, bias_gradient = torch.zeros_like(scale), torch.zeros_like(scale)
    slope = torch.where(positive, -1.0, 1.0) * signed.sigmoid()
    gradients(slope, fused.sigmoid(bias, loss, bias_gradient, gradients=True))
    compared += [(loss, torch.nn.functional.softplus(signed).sum()), (bias_gradient, slope.sum())]
    # Not max of Python, which would pass a NaN over.
    apart = [(found - expected).abs().max() / expected.abs().max() for found, expected in compared]
    return float(torch.stack(apart).nan_to_num(nan=torch.inf).max())

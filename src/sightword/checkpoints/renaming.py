"""Tables of names: where each tensor of ours stands in another library's file, and in which form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Rename:
    """One tensor of ours. theirs: its names there, of which several are stacked along the first dimension to make
    ours. transposed: a matrix that stands there the other way round."""

    ours: str
    theirs: tuple[str, ...]
    transposed: bool = False


def both(ours: str, *theirs: str) -> list[Rename]:
    """Weight and bias of a layer."""
    return [Rename(f"{ours}.{part}", tuple(f"{name}.{part}" for name in theirs)) for part in ("weight", "bias")]


def to_ours(table: Iterable[Rename], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    result: dict[str, Tensor] = {}
    for row in table:
        tensors = [weights[name].T if row.transposed else weights[name] for name in row.theirs]
        result[row.ours] = (tensors[0] if len(tensors) == 1 else torch.cat(tensors)).contiguous()
    return result


def to_theirs(table: Iterable[Rename], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The way back. On tensors without memory it gives the shapes that a file must hold."""
    result: dict[str, Tensor] = {}
    for row in table:
        tensor = weights[row.ours].detach()
        for name, part in zip(row.theirs, tensor.chunk(len(row.theirs)) if tensor.ndim else (tensor,), strict=True):
            result[name] = (part.T if row.transposed else part).contiguous()
    return result

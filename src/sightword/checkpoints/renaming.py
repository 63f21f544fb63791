"""Tables of names: where each tensor of ours stands in another library's file, and in which form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Rename:
    """A tensor of ours and its name there.

    Where one side names several, they are stacked along the first dimension, in equal parts, to make the other's.
    transposed: a matrix that stands there the other way round. axes: leading dimensions of size one that it has there.
    """

    ours: str | tuple[str, ...]
    theirs: str | tuple[str, ...]
    transposed: bool = False
    axes: int = 0


def both(ours: str, *theirs: str) -> list[Rename]:
    """Weight and bias of a layer."""
    return [Rename(f"{ours}.{part}", tuple(f"{name}.{part}" for name in theirs)) for part in ("weight", "bias")]


def to_ours(table: Iterable[Rename], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    result: dict[str, Tensor] = {}
    for row in table:
        tensors = [weights[name].T if row.transposed else weights[name] for name in _names(row.theirs)]
        tensors = [tensor.reshape(tensor.shape[row.axes :]) for tensor in tensors]
        result |= _spread(_names(row.ours), tensors)
    return result


def to_theirs(table: Iterable[Rename], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The way back. On tensors without memory it gives the shapes that a file must hold."""
    result: dict[str, Tensor] = {}
    for row in table:
        tensors = [weights[name].detach() for name in _names(row.ours)]
        for name, tensor in _spread(_names(row.theirs), tensors).items():
            tensor = tensor.reshape((1,) * row.axes + tensor.shape)
            result[name] = (tensor.T if row.transposed else tensor).contiguous()
    return result


def _names(side: str | tuple[str, ...]) -> tuple[str, ...]:
    return (side,) if isinstance(side, str) else side


def _spread(names: tuple[str, ...], tensors: list[Tensor]) -> dict[str, Tensor]:
    """The tensors in a row, in as many equal parts as there are names."""
    whole = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
    parts = (whole,) if len(names) == 1 else whole.chunk(len(names))
    return {name: part.contiguous() for name, part in zip(names, parts, strict=True)}

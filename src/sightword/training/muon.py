"""Muon (K. Jordan and others, 2024; scaled as in Moonlight, arXiv 2502.16982, section 2.2): a matrix moves by its
momentum made orthogonal, so that no direction of it learns faster than another. All that is no matrix moves by AdamW.

Shapes: M x N a matrix (a convolution's filters as rows).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sightword.embedding.precision import half_precision
from sightword.towers.resnet import AttentionPool
from sightword.training.shards import fitted, is_shard, own

# The odd polynomial a x + b x^3 + c x^5, five times over, brings singular values from (0, 1] to about 1.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ROUNDS = 5
_MOMENTUM = 0.95
# Moonlight's factor: the root mean square of an update is then about that of AdamW's: one rate and one decay fit.
_RMS = 0.2


def matrices(model: nn.Module) -> set[int]:
    """Ids of the weights that Muon moves: of linear layers and convolutions, but not of those that look at pixels, and
    not what a ResNet's pool asks with: these are its widest matrices, and it learned no better with them."""
    found: set[int] = set()
    for module in model.modules():
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.in_channels > 3):
            found.add(id(module.weight))
    for module in model.modules():
        if isinstance(module, AttentionPool):
            found -= {id(part.weight) for part in (module.query, module.key, module.value)}
    return found


class Muon(torch.optim.AdamW):
    """groups: as for AdamW; those with `muon` true hold matrices only."""

    def __init__(self, groups: Iterable[dict[str, Any]], **options: Any) -> None:
        super().__init__([{"muon": False, **group} for group in groups], **options)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        mine = [group for group in self.param_groups if group["muon"]]
        held = [(p, p.grad, group) for group in mine for p in group["params"] if p.grad is not None]
        at_once = ranks_of(held[0][0]) if held else 1
        for at in range(0, len(held), at_once):
            some = held[at : at + at_once]
            updates = orthogonal_each([self._ahead(parameter, gradient) for parameter, gradient, _ in some])
            for (parameter, _, group), update in zip(some, updates, strict=True):
                longest = max(len(parameter), parameter.numel() // len(parameter))
                weight = own(parameter)
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(own(update), alpha=-group["lr"] * _RMS * longest**0.5)
                parameter.grad = None  # AdamW passes over it
        super().step()
        for parameter, gradient, _ in held:
            parameter.grad = gradient

    def _ahead(self, parameter: nn.Parameter, gradient: Tensor) -> Tensor:
        """Nesterov's look ahead of the momentum, which the gradient joins."""
        state = self.state[parameter]
        if not state:
            # AdamW looks for a `step` in every state that it loads.
            state |= {"momentum": torch.zeros_like(gradient), "step": torch.zeros(())}
        momentum: Tensor = state["momentum"]
        momentum.lerp_(gradient, 1 - _MOMENTUM)
        return gradient.lerp(momentum, _MOMENTUM)


def orthogonal_each(matrices: Sequence[Tensor]) -> list[Tensor]:
    """`orthogonal` of each (what has more dimensions is a matrix of its rows). Of as many shards as there are ranks at
    most: each rank gathers all, and computes one of them for the others."""
    wholes = [matrix.full_tensor() if is_shard(matrix) else matrix for matrix in matrices]
    mine = matrices[0].device_mesh.get_local_rank() if is_shard(matrices[0]) else 0
    if mine < len(wholes):
        # Contiguous: what is sent is memory, and the iteration may have turned the matrix around.
        wholes[mine] = orthogonal(wholes[mine].flatten(1)).contiguous().view_as(wholes[mine])
    if not is_shard(matrices[0]):
        return wholes
    for rank, found in enumerate(wholes):
        dist.broadcast(found, rank, group=matrices[0].device_mesh.get_group())
    return [fitted(found, matrix) for found, matrix in zip(wholes, matrices, strict=True)]


def ranks_of(tensor: Tensor) -> int:
    return tensor.device_mesh.size() if is_shard(tensor) else 1


def orthogonal(matrix_MN: Tensor) -> Tensor:
    """About U V' of the singular value decomposition U S V', by Newton and Schulz's iteration: in bfloat16 where the
    device has instructions for it, and otherwise in float32 (a CPU without them takes some thirty times as long)."""
    x = matrix_MN.to(torch.bfloat16 if half_precision(matrix_MN.device) == "bf16" else torch.float32)
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(_ROUNDS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return (x if wide else x.T).to(matrix_MN.dtype)

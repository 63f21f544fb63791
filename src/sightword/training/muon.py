"""Muon (K. Jordan and others, 2024; scaled as in Moonlight, arXiv 2502.16982, section 2.2): a matrix moves by its
momentum made orthogonal, so that no direction of it learns faster than another. All that is no matrix moves by AdamW.

Shapes: M x N a matrix (a convolution's filters as rows).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from sightword.towers.resnet import AttentionPool

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
        held: list[tuple[nn.Parameter, Tensor]] = []
        for group in mine:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                held.append((parameter, parameter.grad))
                self._move(parameter, parameter.grad, group["lr"], group["weight_decay"])
                parameter.grad = None  # AdamW passes over it
        super().step()
        for parameter, gradient in held:
            parameter.grad = gradient

    def _move(self, parameter: nn.Parameter, gradient: Tensor, rate: float, decay: float) -> None:
        state = self.state[parameter]
        if not state:
            # AdamW looks for a `step` in every state that it loads.
            state |= {"momentum": torch.zeros_like(gradient), "step": torch.zeros(())}
        momentum: Tensor = state["momentum"]
        momentum.lerp_(gradient, 1 - _MOMENTUM)
        ahead = gradient.lerp(momentum, _MOMENTUM)  # Nesterov's
        update = orthogonal(ahead.flatten(1)).view_as(parameter)
        parameter.mul_(1 - rate * decay)
        parameter.add_(update, alpha=-rate * _RMS * max(update.flatten(1).shape) ** 0.5)


def orthogonal(matrix_MN: Tensor) -> Tensor:
    """About U V' of the singular value decomposition U S V', by Newton and Schulz's iteration in bfloat16."""
    x = matrix_MN.bfloat16()
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(_ROUNDS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return (x if wide else x.T).to(matrix_MN.dtype)

"""Low-rank adaptation (LoRA: arXiv 2106.09685, section 4.1): beside a linear layer that stays as it is, two thin
matrices learn. y = W x + b + (alpha / r) B A x, where A begins random and B with zeros, so that the function is at
first the layer's own, to the bit.

The paper adapts the matrices of queries, keys and values each by itself. Here they are one layer (`qkv`), and so such a
layer has three parts of outputs with an A and a B of their own. A begins uniform in ± in_features^-0.5, as in the
authors' code.

Shapes: P parts, r rank, I inputs, O outputs of the layer.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightword.towers.tower import Tower

# qkv, out: of attention. fc1, fc2: of the MLPs.
LoraLayer: TypeAlias = Literal["qkv", "out", "fc1", "fc2"]
# Attention that pools has its queries, keys and values in layers of their own.
_NAMES: dict[LoraLayer, tuple[str, ...]] = {
    "qkv": ("qkv", "query", "key", "value"),
    "out": ("out",),
    "fc1": ("fc1",),
    "fc2": ("fc2",),
}


class LoraLinear(nn.Linear):
    """Takes the place of `base`, and holds its weight and bias under the same names, without gradients."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float, parts: int) -> None:
        super().__init__(base.in_features, base.out_features, bias=base.bias is not None, device="meta")
        self.weight, self.bias = base.weight, base.bias
        self.factor = alpha / rank
        weight = base.weight
        bound = base.in_features**-0.5
        self.down_PrI = nn.Parameter(weight.new_empty(parts, rank, base.in_features).uniform_(-bound, bound))
        self.up_POr = nn.Parameter(weight.new_zeros(parts, base.out_features // parts, rank))

    def forward(self, x: Tensor) -> Tensor:
        inner = F.linear(x, self.down_PrI.flatten(0, 1)).unflatten(-1, self.down_PrI.shape[:2])
        added = torch.einsum("...pr,por->...po", inner, self.up_POr).flatten(-2)
        return super().forward(x) + self.factor * added


def add_lora(tower: Tower, layers: Collection[LoraLayer], rank: int, alpha: float) -> int:
    """Adapt every linear layer of a tower that `layers` name. Gives how many there are.

    Their own weights are taken out of the training; what else of the tower trains, `Tower.lock` says before.
    """
    wanted = {name for layer in layers for name in _NAMES[layer]}
    found = 0
    for parent in list(tower.modules()):
        for name, child in list(parent.named_children()):
            if name in wanted and type(child) is nn.Linear:
                child.requires_grad_(False)
                setattr(parent, name, LoraLinear(child, rank, alpha, parts=3 if name == "qkv" else 1))
                found += 1
    return found


@torch.no_grad()
def merge_lora(model: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of `model` as that of the same model without adapters: W + (alpha / r) B A in the place of W.

    Without an adapter in the model, the weights as they are."""
    merged = dict(weights)
    for name, module in model.named_modules():
        if isinstance(module, LoraLinear):
            down_PrI, up_POr = merged.pop(f"{name}.down_PrI"), merged.pop(f"{name}.up_POr")
            merged[f"{name}.weight"] = merged[f"{name}.weight"] + module.factor * (up_POr @ down_PrI).flatten(0, 1)
    return merged

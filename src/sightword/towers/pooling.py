"""Attention pooling with a learned query: the MAP head ("multihead attention pooling") of SigLIP's image tower
(arXiv 2303.15343; Scaling Vision Transformers: arXiv 2106.04560, section 3.1).

Shapes: B batch, L tokens, W width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightword.towers.layers import MLP, Activation


class ProbePool(nn.Module):
    """tokens [B, L, W] to [B, W]: z = attention(probe, tokens), then z + mlp(norm(z))."""

    def __init__(self, width: int, heads: int, mlp_width: int, act: Activation, eps: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"a width of {width} does not divide into {heads} heads")
        self.heads = heads
        self.probe = nn.Parameter(torch.empty(width))
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, mlp_width, act)

    def initialise(self) -> None:
        """Attention Xavier-uniform with zero biases, the probe by width^-0.5; the framework's defaults elsewhere."""
        nn.init.normal_(self.probe, std=len(self.probe) ** -0.5)
        for linear in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x_BLW: Tensor) -> Tensor:
        B, L, W = x_BLW.shape
        split = (self.heads, W // self.heads)
        q = self.query(self.probe.to(x_BLW.dtype)).view(1, 1, *split).transpose(1, 2).expand(B, -1, -1, -1)
        k = self.key(x_BLW).view(B, L, *split).transpose(1, 2)
        v = self.value(x_BLW).view(B, L, *split).transpose(1, 2)
        z_BW = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, W))
        return z_BW + self.mlp(self.norm(z_BW))

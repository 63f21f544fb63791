"""Attention pooling with learned queries: the MAP head ("multihead attention pooling") of SigLIP's image tower
(arXiv 2303.15343; Scaling Vision Transformers: arXiv 2106.04560, section 3.1), and the attentional pooler of CoCa
(arXiv 2205.01917, section 3.2).

Shapes: B batch, L tokens, W width, Q queries, D joint space.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sightword.towers.layers import MLP, Activation, attend


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
        return self._leave(self.out(attend(q, k, v).transpose(1, 2).reshape(B, W)))

    def alone(self, x_BLW: Tensor) -> Tensor:
        """What the probe would get from each token by itself: [B, L, W]."""
        return self._leave(self.out(self.value(x_BLW)))

    def _leave(self, z: Tensor) -> Tensor:
        return z + self.mlp(self.norm(z))


class QueryPool(nn.Module):
    """tokens [B, L, W] to the answers [B, Q, D]: attention(norm(queries), norm(tokens))."""

    def __init__(self, width: int, embed_dim: int, queries: int, heads: int, eps: float) -> None:
        super().__init__()
        if embed_dim % heads:
            raise ValueError(f"a joint space of {embed_dim} dimensions does not divide into {heads} heads")
        self.heads = heads
        self.queries = nn.Parameter(torch.empty(queries, embed_dim))
        self.norm_queries = nn.LayerNorm(embed_dim, eps=eps)
        self.norm_tokens = nn.LayerNorm(width, eps=eps)
        self.query = nn.Linear(embed_dim, embed_dim)
        self.key = nn.Linear(width, embed_dim)
        self.value = nn.Linear(width, embed_dim)
        self.out = nn.Linear(embed_dim, embed_dim)

    def initialise(self) -> None:
        """Attention Xavier-uniform with zero biases, normal queries."""
        nn.init.normal_(self.queries)
        for linear in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x_BLW: Tensor, first_only: bool = False) -> Tensor:
        """first_only: the answer to the first query, which is all that some poolings take."""
        queries_QD = self.queries[:1] if first_only else self.queries
        (B, L, _), (Q, D) = x_BLW.shape, queries_QD.shape
        split = (self.heads, D // self.heads)
        x_BLW = self.norm_tokens(x_BLW)
        q = self.query(self.norm_queries(queries_QD)).view(1, Q, *split).transpose(1, 2).expand(B, -1, -1, -1)
        k = self.key(x_BLW).view(B, L, *split).transpose(1, 2)
        v = self.value(x_BLW).view(B, L, *split).transpose(1, 2)
        return self.out(attend(q, k, v).transpose(1, 2).reshape(B, Q, D))

    def alone(self, x_BLW: Tensor) -> Tensor:
        """What a query would get from each token by itself: [B, L, D]."""
        return self.out(self.value(self.norm_tokens(x_BLW)))

"""The causal text Transformer of CLIP (arXiv 2103.00020, section 2.4), pooled at the end-of-text token.

Shapes: B batch, L tokens, W width, D joint space.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from sightword.config import Config, Positive, PositiveFloat
from sightword.data.pairs import Tokens
from sightword.towers.layers import NORM_EPS, Activation, Block
from sightword.towers.tower import Tower


class TextConfig(Config):
    """vocabulary: rows of the token table. context: rows of the position table. mlp_ratio: the MLP has
    int(width * mlp_ratio) hidden units. eps: of every LayerNorm."""

    kind: Literal["transformer"] = "transformer"
    vocabulary: Positive
    context: Positive
    width: Positive
    layers: Positive
    heads: Positive
    mlp_ratio: PositiveFloat = 4.0
    activation: Activation = "quick_gelu"
    eps: PositiveFloat = NORM_EPS


class TextTransformer(Tower):
    def __init__(self, config: TextConfig, embed_dim: int) -> None:
        super().__init__()
        width = config.width
        self.embed_dim = embed_dim
        self.tokens = nn.Embedding(config.vocabulary, width)
        self.positions = nn.Parameter(torch.empty(config.context, width))
        self.blocks = nn.ModuleList(
            Block(width, config.heads, int(width * config.mlp_ratio), config.activation, config.eps)
            for _ in range(config.layers)
        )
        self.norm_out = nn.LayerNorm(width, eps=config.eps)
        self.projection = nn.Linear(width, embed_dim, bias=False)
        self.initialise()

    def initialise(self) -> None:
        """As published: normal weights, the residual branches' last layers scaled down by the depth."""
        width, depth = self.projection.in_features, len(self.blocks)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions, std=0.01)
        nn.init.normal_(self.projection.weight, std=width**-0.5)
        residual_std = width**-0.5 * (2 * depth) ** -0.5
        for block in self.blocks:
            assert isinstance(block, Block)
            nn.init.normal_(block.attention.qkv.weight, std=width**-0.5)
            nn.init.normal_(block.attention.out.weight, std=residual_std)
            nn.init.normal_(block.mlp.fc1.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.mlp.fc2.weight, std=residual_std)
            nn.init.zeros_(block.attention.qkv.bias)
            nn.init.zeros_(block.attention.out.bias)

    def forward(self, tokens: Tokens) -> Tensor:
        ids_BL = tokens.ids
        # Later tokens do not reach earlier ones, so padding after the end changes nothing and needs no mask.
        x_BLW = self.tokens(ids_BL) + self.positions[: ids_BL.shape[1]]
        for block in self.blocks:
            x_BLW = block(x_BLW, causal=True)
        end_BW = x_BLW[torch.arange(len(tokens), device=x_BLW.device), tokens.lengths - 1]
        return self.projection(self.norm_out(end_BW))

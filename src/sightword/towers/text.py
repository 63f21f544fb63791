"""The text Transformer of CLIP (arXiv 2103.00020, section 2.4), causal and pooled at the end-of-text token; and of
SigLIP (arXiv 2303.15343), which looks both ways, padding included, and is pooled at its last position.

Shapes: B batch, L tokens, W width, D joint space.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sightword.data.pairs import Tokens
from sightword.towers.configs import TextConfig as TextConfig
from sightword.towers.layers import Block, projection
from sightword.towers.tower import TextTower


class TextTransformer(TextTower):
    def __init__(self, config: TextConfig, embed_dim: int) -> None:
        super().__init__()
        width = config.width
        self.embed_dim = embed_dim
        self.causal, self.pool, self.trims = config.causal, config.pool, config.trims
        self.tokens = nn.Embedding(config.vocabulary, width)
        self.positions = nn.Parameter(torch.empty(config.context, width))
        self.blocks = nn.ModuleList(
            Block(width, config.heads, int(width * config.mlp_ratio), config.activation, config.eps)
            for _ in range(config.layers)
        )
        self.norm_out = nn.LayerNorm(width, eps=config.eps)
        self.projection = projection(config.projection, width, embed_dim)
        self.initialise()

    def initialise(self) -> None:
        """As published: normal weights, the residual branches' last layers scaled down by the depth."""
        width, depth = self.positions.shape[1], len(self.blocks)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions, std=0.01)
        if isinstance(self.projection, nn.Linear):
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
        if not self.trims and ids_BL.shape[1] != len(self.positions):
            raise ValueError(f"this tower takes texts padded to {len(self.positions)} tokens, not {ids_BL.shape[1]}")
        x_BLW = self.tokens(ids_BL) + self.positions[: ids_BL.shape[1]]
        for block in self.blocks:
            x_BLW = block(x_BLW, causal=self.causal)
        if self.pool == "last":
            pooled_BW = x_BLW[:, -1]
        else:
            pooled_BW = x_BLW[torch.arange(ids_BL.shape[0], device=x_BLW.device), tokens.lengths - 1]
        return self.projection(self.norm_out(pooled_BW))

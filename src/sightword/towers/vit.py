"""The Vision Transformer of CLIP (arXiv 2103.00020, section 2.4; ViT: arXiv 2010.11929).

A class token, learned positions, an extra norm before the first block, pre-norm blocks, and the normed class token
projected to the joint space. Shapes: B batch, L tokens (the class token first), W width, D joint space.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from sightword.config import Config, Positive, PositiveFloat
from sightword.towers.layers import NORM_EPS, Activation, Block
from sightword.towers.tower import Tower


class ViTConfig(Config):
    """mlp_ratio: the MLP has int(width * mlp_ratio) hidden units. eps: of every LayerNorm."""

    kind: Literal["vit"] = "vit"
    image_size: Positive
    patch: Positive
    width: Positive
    layers: Positive
    heads: Positive
    mlp_ratio: PositiveFloat = 4.0
    activation: Activation = "quick_gelu"
    eps: PositiveFloat = NORM_EPS


class ViT(Tower):
    def __init__(self, config: ViTConfig, embed_dim: int) -> None:
        super().__init__()
        width, grid = config.width, config.image_size // config.patch
        self.embed_dim = embed_dim
        self.patches = nn.Conv2d(3, width, config.patch, stride=config.patch, bias=False)
        self.class_token = nn.Parameter(torch.empty(width))
        self.positions = nn.Parameter(torch.empty(grid * grid + 1, width))
        self.norm_in = nn.LayerNorm(width, eps=config.eps)
        self.blocks = nn.ModuleList(
            Block(width, config.heads, int(width * config.mlp_ratio), config.activation, config.eps)
            for _ in range(config.layers)
        )
        self.norm_out = nn.LayerNorm(width, eps=config.eps)
        self.projection = nn.Linear(width, embed_dim, bias=False)
        self.initialise()

    def initialise(self) -> None:
        """As published: class token, positions and projection by width^-0.5, the fused attention input Xavier-uniform;
        the framework's defaults elsewhere, except zero biases in attention."""
        std = self.projection.in_features**-0.5
        nn.init.normal_(self.class_token, std=std)
        nn.init.normal_(self.positions, std=std)
        nn.init.normal_(self.projection.weight, std=std)
        for block in self.blocks:
            assert isinstance(block, Block)
            nn.init.xavier_uniform_(block.attention.qkv.weight)
            nn.init.zeros_(block.attention.qkv.bias)
            nn.init.zeros_(block.attention.out.bias)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        x_BLW = self.patches(images_B3HW).flatten(2).transpose(1, 2)
        class_B1W = self.class_token.to(x_BLW.dtype).expand(x_BLW.shape[0], 1, -1)
        x_BLW = self.norm_in(torch.cat([class_B1W, x_BLW], dim=1) + self.positions)
        for block in self.blocks:
            x_BLW = block(x_BLW)
        return self.projection(self.norm_out(x_BLW[:, 0]))

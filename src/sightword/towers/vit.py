"""The Vision Transformer of CLIP (arXiv 2103.00020, section 2.4; ViT: arXiv 2010.11929) and of its relatives.

CLIP: a class token, learned positions, an extra norm before the first block, pre-norm blocks, and the normed class
token projected to the joint space. SigLIP (arXiv 2303.15343) has neither class token, extra norm nor projection; its
patches have a bias, and an attention head pools the normed tokens. Shapes: B batch, L tokens (the class token first,
where there is one), W width, D joint space.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sightword.towers.configs import ViTConfig as ViTConfig
from sightword.towers.layers import Block, projection
from sightword.towers.pooling import ProbePool
from sightword.towers.tower import Tower


class ViT(Tower):
    def __init__(self, config: ViTConfig, embed_dim: int) -> None:
        super().__init__()
        width, grid, hidden = config.width, config.image_size // config.patch, int(config.width * config.mlp_ratio)
        if not grid:
            raise ValueError(f"a patch of {config.patch} pixels in a picture of {config.image_size}")
        if config.pool == "class" and not config.class_token:
            raise ValueError("pool is 'class', and there is no class token")
        self.embed_dim = embed_dim
        self.pool = config.pool
        self.patches = nn.Conv2d(3, width, config.patch, stride=config.patch, bias=config.patch_bias)
        self.class_token = nn.Parameter(torch.empty(width)) if config.class_token else None
        self.positions = nn.Parameter(torch.empty(grid * grid + int(config.class_token), width))
        self.norm_in = nn.LayerNorm(width, eps=config.eps) if config.norm_in else nn.Identity()
        self.blocks = nn.ModuleList(
            Block(width, config.heads, hidden, config.activation, config.eps) for _ in range(config.layers)
        )
        self.norm_out = nn.LayerNorm(width, eps=config.eps)
        self.attention_pool = (
            ProbePool(width, config.heads, hidden, config.activation, config.eps)
            if config.pool == "attention"
            else None
        )
        self.projection = projection(config.projection, width, embed_dim)
        self.initialise()

    def initialise(self) -> None:
        """As published: class token, positions and projection by width^-0.5, the fused attention input Xavier-uniform;
        the framework's defaults elsewhere, except zero biases in attention."""
        std = self.positions.shape[1] ** -0.5
        if self.class_token is not None:
            nn.init.normal_(self.class_token, std=std)
        nn.init.normal_(self.positions, std=std)
        if isinstance(self.projection, nn.Linear):
            nn.init.normal_(self.projection.weight, std=std)
        if self.attention_pool is not None:
            self.attention_pool.initialise()
        for block in self.blocks:
            assert isinstance(block, Block)
            nn.init.xavier_uniform_(block.attention.qkv.weight)
            nn.init.zeros_(block.attention.qkv.bias)
            nn.init.zeros_(block.attention.out.bias)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        x_BLW = self.patches(images_B3HW).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            class_B1W = self.class_token.to(x_BLW.dtype).expand(x_BLW.shape[0], 1, -1)
            x_BLW = torch.cat([class_B1W, x_BLW], dim=1)
        x_BLW = self.norm_in(x_BLW + self.positions)
        for block in self.blocks:
            x_BLW = block(x_BLW)
        return self.projection(self._pooled(x_BLW))

    def _pooled(self, x_BLW: Tensor) -> Tensor:
        if self.pool == "class":
            return self.norm_out(x_BLW[:, 0])
        x_BLW = self.norm_out(x_BLW)
        if self.attention_pool is not None:
            return self.attention_pool(x_BLW)
        return x_BLW[:, int(self.class_token is not None) :].mean(dim=1)

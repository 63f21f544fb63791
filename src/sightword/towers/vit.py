"""The Vision Transformer of CLIP (arXiv 2103.00020, section 2.4; ViT: arXiv 2010.11929) and of its relatives.

CLIP: a class token, learned positions, an extra norm before the first block, pre-norm blocks, and the normed class
token projected to the joint space. SigLIP (arXiv 2303.15343) has neither class token, extra norm nor projection; its
patches have a bias, and an attention head pools the normed tokens. CLIPA (arXiv 2305.07017) averages the patches, and
norms after that. FLIP (arXiv 2212.00794) trains on a part of the patches. CoCa (arXiv 2205.01917) lets learned queries
ask the tokens, and takes their answers for tokens.
Shapes: B batch, L tokens (the class token first, where there is one), W width, D joint space.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightword.towers.configs import ViTConfig as ViTConfig
from sightword.towers.layers import Block, projection
from sightword.towers.patch_rules import Rule, run_block
from sightword.towers.pooling import ProbePool, QueryPool
from sightword.towers.positions import resample
from sightword.towers.tower import Tower


class ViT(Tower):
    def __init__(self, config: ViTConfig, embed_dim: int) -> None:
        super().__init__()
        width, grid, hidden = config.width, config.image_size // config.patch, int(config.width * config.mlp_ratio)
        if not grid:
            raise ValueError(f"a patch of {config.patch} pixels in a picture of {config.image_size}")
        queries = config.queries
        first = config.class_token or queries is not None
        if config.pool == "class" and not first:
            raise ValueError("pool is 'class', and there is no class token")
        if queries is not None and (config.pool == "attention" or (config.pool == "average" and queries.count == 1)):
            raise ValueError(f"pool is {config.pool!r}, which cannot be of the answers to {queries.count} queries")
        self.embed_dim = embed_dim
        self.pool, self.norm_after_pool = config.pool, config.norm_after_pool
        self.prefix = int(first)
        self.patches = nn.Conv2d(3, width, config.patch, stride=config.patch, bias=config.patch_bias)
        self.class_token = nn.Parameter(torch.empty(width)) if config.class_token else None
        self.positions = nn.Parameter(torch.empty(grid * grid + int(config.class_token), width))
        self.norm_in = nn.LayerNorm(width, eps=config.eps) if config.norm_in else nn.Identity()
        self.blocks = nn.ModuleList(
            Block(width, config.heads, hidden, config.activation, config.eps, config.layer_scale)
            for _ in range(config.layers)
        )
        self.query_pool = (
            QueryPool(width, embed_dim, queries.count, queries.heads, config.eps) if queries is not None else None
        )
        pooled = embed_dim if queries is not None else width
        self.norm_out = nn.LayerNorm(pooled, eps=config.eps)
        self.attention_pool = (
            ProbePool(width, config.heads, hidden, config.activation, config.eps)
            if config.pool == "attention"
            else None
        )
        self.projection = projection(config.projection, pooled, embed_dim)
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
        for pool in (self.attention_pool, self.query_pool):
            if pool is not None:
                pool.initialise()
        for block in self.blocks:
            assert isinstance(block, Block)
            nn.init.xavier_uniform_(block.attention.qkv.weight)
            nn.init.zeros_(block.attention.qkv.bias)
            nn.init.zeros_(block.attention.out.bias)

    def forward(self, images_B3HW: Tensor, keep_BK: Tensor | None = None) -> Tensor:
        """Pictures of another size than the tower's take its positions resampled. keep_BK: int64, the patches of each
        picture that are looked at, in rows from the top left; all without it."""
        x_BLW, _ = self._embedded(images_B3HW, keep_BK)
        *blocks, last = self.blocks
        for block in blocks:
            x_BLW = block(x_BLW)
        # Only the class token of the last block is pooled.
        x_BLW = last(x_BLW, only=0 if self.pool == "class" and self.query_pool is None else None)
        return self.projection(self._pooled(x_BLW))

    def hidden(self, images_B3HW: Tensor, after: Sequence[int]) -> tuple[list[Tensor], tuple[int, int]]:
        """The tokens [B, L, W] that leave each of these blocks, counted from 0, and the grid (rows, columns) of the
        patches; the class token comes first, where there is one. No norm or projection follows."""
        x_BLW, grid = self._embedded(images_B3HW)
        found: dict[int, Tensor] = {}
        for number, block in enumerate(self.blocks[: max(after) + 1]):
            x_BLW = block(x_BLW)
            if number in after:
                found[number] = x_BLW
        return [found[number] for number in after], grid

    def embed_patches(self, images_B3HW: Tensor, rule: Rule = "clip") -> Tensor:
        """The patches themselves in the joint space, [B, D, h, w], not normalised. rule: of the last block (see
        patch_rules). Where learned queries pool the tokens, a patch becomes what they would get from it alone."""
        x_BLW, (h, w) = self._embedded(images_B3HW)
        *blocks, last = self.blocks
        for block in blocks:
            x_BLW = block(x_BLW)
        assert isinstance(last, Block)
        return self.patches_of(run_block(last, x_BLW, rule, (h, w)), (h, w))

    def patches_of(self, x_BLW: Tensor, grid: tuple[int, int]) -> Tensor:
        """The tokens that leave the last block to patches in the joint space, [B, D, h, w], not normalised."""
        x_BLW = x_BLW[:, x_BLW.shape[1] - grid[0] * grid[1] :]
        if self.query_pool is not None:
            x_BLW = self.query_pool.alone(x_BLW)
        x_BLW = self.norm_out(x_BLW)
        if self.attention_pool is not None:
            x_BLW = self.attention_pool.alone(x_BLW)
        return self.projection(x_BLW).transpose(1, 2).unflatten(2, grid)

    def _embedded(self, images_B3HW: Tensor, keep_BK: Tensor | None = None) -> tuple[Tensor, tuple[int, int]]:
        """What enters the first block, and the grid of the patches."""
        x_BWhw = self.patches(images_B3HW)
        grid = (x_BWhw.shape[2], x_BWhw.shape[3])
        x_BLW, class_tokens = x_BWhw.flatten(2).transpose(1, 2), int(self.class_token is not None)
        if self.class_token is not None:
            class_B1W = self.class_token.to(x_BLW.dtype).expand(x_BLW.shape[0], 1, -1)
            x_BLW = torch.cat([class_B1W, x_BLW], dim=1)
        x_BLW = x_BLW + resample(self.positions, grid, class_tokens)
        if keep_BK is not None:
            tokens_BK = F.pad(keep_BK + class_tokens, (class_tokens, 0))  # the class token, at 0, is always kept
            x_BLW = x_BLW.gather(1, tokens_BK[..., None].expand(-1, -1, x_BLW.shape[2]))
        return self.norm_in(x_BLW), grid

    def stages(self) -> Sequence[nn.Module]:
        tokens = [self.positions] if self.class_token is None else [self.class_token, self.positions]
        return [nn.ModuleList([self.patches, nn.ParameterList(tokens), self.norm_in]), *self.blocks]

    def _pooled(self, x_BLW: Tensor) -> Tensor:
        if self.query_pool is not None:
            x_BLW = self.query_pool(x_BLW, first_only=self.pool == "class")
        if self.pool == "class":
            return self.norm_out(x_BLW[:, 0])
        if self.attention_pool is not None:
            return self.attention_pool(self.norm_out(x_BLW))
        if self.norm_after_pool:
            return self.norm_out(x_BLW[:, self.prefix :].mean(dim=1))
        return self.norm_out(x_BLW)[:, self.prefix :].mean(dim=1)

"""The text Transformer of CLIP (arXiv 2103.00020, section 2.4), causal and pooled at the end-of-text token; and of
SigLIP (arXiv 2303.15343), which looks both ways, padding included, and is pooled at its last position. That of CoCa
(arXiv 2205.01917) is pooled at a class token behind the context.

Shapes: B batch, L tokens, W width, D joint space.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightword.data.pairs import Tokens
from sightword.towers.configs import TextConfig as TextConfig
from sightword.towers.layers import Block, pick, projection
from sightword.towers.packing import Packing
from sightword.towers.tower import TextPart, TextTower, Words


class TextTransformer(TextTower):
    def __init__(self, config: TextConfig, embed_dim: int) -> None:
        super().__init__()
        width = config.width
        self.embed_dim = embed_dim
        self.context, self.causal, self.pool, self.pad_id = config.context, config.causal, config.pool, config.pad_id
        self.trims, self.packs = config.trims, config.packs
        self.tokens = nn.Embedding(config.vocabulary, width)
        self.class_token = nn.Parameter(torch.empty(width)) if config.pool == "class" else None
        self.positions = nn.Parameter(torch.empty(config.context + int(config.pool == "class"), width))
        self.kept_positions: Tensor | None
        self.register_buffer("kept_positions", None)
        hidden = int(width * config.mlp_ratio)
        self.blocks = nn.ModuleList(
            Block(width, config.heads, hidden, config.activation, config.eps, config.layer_scale)
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
        if self.class_token is not None:
            nn.init.normal_(self.class_token, std=0.01)
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

    def keep_positions(self, count: int) -> None:
        """From now on the first positions are fixed, and only the others learn (and decay). They stand apart while the
        tower trains: see `towers/plain`."""
        positions = self.position_table().detach()
        self.kept_positions = positions[:count].clone()
        self.positions = nn.Parameter(positions[count:].clone(), requires_grad=self.positions.requires_grad)

    def position_table(self) -> Tensor:
        """Of all positions: [context, W], with a class token a row more."""
        return self.positions if self.kept_positions is None else torch.cat([self.kept_positions, self.positions])

    def forward(self, tokens: Tokens, words: Words | None = None) -> Tensor:
        ids_BL = tokens.ids
        if not self.trims and ids_BL.shape[1] != self.context:
            raise ValueError(f"this tower takes texts padded to {self.context} tokens, not {ids_BL.shape[1]}")
        pooled_B1W = self._plain(tokens, words) if self.class_token is None else self._masked(ids_BL, words)
        return self.projection(self.norm_out(pooled_B1W[:, 0]))

    def _plain(self, tokens: Tokens, words: Words | None) -> Tensor:
        ids_BL, L = tokens.ids, tokens.ids.shape[1]
        # Where gradients are wanted: embedding sorts its texts, and what is exported has no shapes that depend on them.
        packing = Packing.of(tokens.lengths, L) if self.trims and torch.is_grad_enabled() else None
        if packing is None:
            x = self.tokens(ids_BL)
            x = (x if words is None else words.put(x)) + self.position_table()[:L]
        else:
            x = self.tokens(ids_BL.flatten()[packing.flat])
            x = x if words is None else words.put_packed(x, packing.flat)
            x = x + F.embedding(packing.flat % L, self.position_table())
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x, causal=self.causal, packing=packing)
        # Only the pooled position of the last block is wanted: it asks alone, of those that it may see.
        only = self._pooled_at(tokens)
        seen_B11L = None
        if self.causal:
            limit = torch.as_tensor(only, device=ids_BL.device).reshape(-1, 1)
            seen_B11L = (torch.arange(L, device=ids_BL.device) <= limit)[:, None, None]
        return last(x, seen_B11L, only=only, packing=packing)

    def _masked(self, ids_BL: Tensor, words: Words | None) -> Tensor:
        """With a class token behind the context."""
        assert self.class_token is not None
        x_BLW = self.tokens(ids_BL)
        x_BLW = x_BLW if words is None else words.put(x_BLW)
        class_B1W = self.class_token.to(x_BLW.dtype).expand(x_BLW.shape[0], 1, -1)
        x_BLW = torch.cat([x_BLW, class_B1W], dim=1)
        x_BLW, mask = x_BLW + self.position_table()[: x_BLW.shape[1]], self._mask(ids_BL)
        *blocks, last = self.blocks
        for block in blocks:
            x_BLW = block(x_BLW, mask)
        return last(x_BLW, mask)[:, -1:]

    def _pooled_at(self, tokens: Tokens) -> int | Tensor:
        L = tokens.ids.shape[1]
        places: dict[str, int | Tensor] = {"end": tokens.lengths - 1, "first": 0, "last": L - 1, "class": L}
        return places[self.pool]

    def pooled(self, x_BLW: Tensor, tokens: Tokens) -> Tensor:
        return (x_BLW if x_BLW.shape[1] == 1 else pick(x_BLW, self._pooled_at(tokens)))[:, 0]

    def stages(self) -> Sequence[nn.Module]:
        tokens = [self.positions] if self.class_token is None else [self.class_token, self.positions]
        return [nn.ModuleList([self.tokens, nn.ParameterList(tokens)]), *self.blocks]

    def part(self, name: TextPart) -> Sequence[nn.Parameter]:
        if name == "positions":
            return [self.positions] if self.class_token is None else [self.positions, self.class_token]
        return [*{"tokens": self.tokens, "norm": self.norm_out, "projection": self.projection}[name].parameters()]

    def _mask(self, ids_BL: Tensor) -> Tensor:
        """Which tokens each one sees beside a class token, [B, 1, 1 or L, L]. As in open_clip, with which the published
        CoCas were trained, it is one place late: what stands behind a padding is passed over, so that each text sees
        its first padding, and the class token itself only where there is none."""
        seen_BL = F.pad(ids_BL.ne(self.pad_id or 0), (1, 0), value=True)
        mask = seen_BL[:, None, None, :]
        L = seen_BL.shape[1]
        return mask & torch.ones(L, L, dtype=torch.bool, device=ids_BL.device).tril() if self.causal else mask

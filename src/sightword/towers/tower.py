"""What every tower can say of itself, and which part of it trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor, nn

from sightword.data.pairs import Tokens
from sightword.errors import RequestError

# all: everything trains. head: only what follows the last stage. A number: the head and the last so many stages.
Trainable: TypeAlias = Literal["all", "head"] | int
# Halves of the blocks, of n: the first n // 2, as many from n // 4 on, the last.
Half: TypeAlias = Literal["front", "middle", "back"]
# none: the head stays as it is, too, where it comes trained. Some blocks, and all that is no block: a half of them, or
# as `0-5`, both included and counted from 0.
Tunable: TypeAlias = Trainable | Literal["none"] | Half | str
# What of a text tower is no block.
TextPart: TypeAlias = Literal["tokens", "positions", "norm", "projection"]


class Levels(NamedTuple):
    """What a tower of convolutions finds on its way, for words at pixels. maps: [B, C, h, w] at strides of 4, 8, 16 and
    32 pixels, the finest first. patches: [B, D, h, w], what single places of a picture are in the joint space, not
    normalised."""

    maps: Sequence[Tensor]
    patches: Tensor


class Words(NamedTuple):
    """Words that no token stands for (textual inversion). at: bool [B, L], their places in each text, where any id may
    be. vectors: [B, W], of each text the one that stands in all its places, as wide as the tower's tokens."""

    at: Tensor
    vectors: Tensor

    def put(self, x_BLW: Tensor) -> Tensor:
        """The vectors of tokens, with these in their places."""
        return torch.where(self.at[:, :, None], self.vectors[:, None].to(x_BLW.dtype), x_BLW)

    def put_packed(self, x_NW: Tensor, flat_N: Tensor) -> Tensor:
        """The same of the tokens alone. flat: where each stands in the padded batch, row after row."""
        row_N = flat_N // self.at.shape[1]
        return torch.where(self.at.flatten()[flat_N, None], self.vectors[row_N].to(x_NW.dtype), x_NW)


class Tower(nn.Module):
    """A tower maps its input to [B, embed_dim], not normalised."""

    embed_dim: int

    def stages(self) -> Sequence[nn.Module]:
        """From input to output the pieces by which it can be locked: what embeds the input, then block by block. What
        is in none of them is the head: the last norm, the pooling, the projection."""
        raise NotImplementedError

    def lock(self, trainable: Tunable) -> None:
        """Stop the gradients of all that `trainable` does not name. Locked stages also keep their BatchNorm
        statistics: see `train`. Raises RequestError for blocks that are not there."""
        self._locked: list[nn.Module] = []
        self.requires_grad_(True)
        if trainable == "all":
            return
        if trainable == "none":
            self.requires_grad_(False)
            self._locked.extend(self.children())
            return
        stages = list(self.stages())
        if isinstance(trainable, int) or trainable == "head":
            keep = 0 if trainable == "head" else int(trainable)
            locked = stages[: max(0, len(stages) - keep)]
        else:
            kept = _blocks(trainable, len(stages) - 1)
            locked = [block for number, block in enumerate(stages[1:]) if number not in kept]
        for stage in locked:
            stage.requires_grad_(False)
            self._locked.append(stage)

    def locked(self) -> Sequence[nn.Module]:
        return getattr(self, "_locked", [])

    def train(self, mode: bool = True) -> Tower:
        super().train(mode)
        for stage in self.locked():
            stage.eval()
        return self


class TextTower(Tower):
    """trims: whether padding behind the end of a text makes no difference, so that a batch may be cut to its longest
    text. Where it does, the tower takes texts at its full context only, padded as it was trained with."""

    trims: bool

    def part(self, name: TextPart) -> Sequence[nn.Parameter]:
        """Of what is no block; nothing where the tower has no such thing."""
        raise NotImplementedError

    def pooled(self, x_BLW: Tensor, tokens: Tokens) -> Tensor:
        """What the tower takes of the tokens after its last block, [B, W], of those after any block. (After the last
        there may be one position a text, the one that is taken.)"""
        raise NotImplementedError

    @torch.no_grad()
    def hidden(self, tokens: Tokens) -> list[Tensor]:
        """What is `pooled` after each block, [B, W], as the blocks give it: of the last one before what follows it."""
        found: list[Tensor] = []

        def keep(block: nn.Module, given: tuple[Tensor, ...], x_BLW: Tensor) -> None:
            found.append(self.pooled(x_BLW, tokens))

        hooks = [block.register_forward_hook(keep) for block in self.stages()[1:]]
        try:
            self(tokens)
        finally:
            for hook in hooks:
                hook.remove()
        return found


def _blocks(which: str, count: int) -> range:
    if which in get_args(Half):
        first = {"front": 0, "middle": count // 4, "back": count - count // 2}[which]
        return range(first, first + count // 2)
    first, last = map(int, which.split("-"))
    if not first <= last < count:
        raise RequestError(f"blocks {which}: the tower has {count}, 0 to {count - 1}: name the first and the last")
    return range(first, last + 1)

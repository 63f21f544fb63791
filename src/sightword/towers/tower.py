"""What every tower can say of itself, and which part of it trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from torch import nn

# all: everything trains. head: only what the tower adds to a pretrained backbone. A number: the head and the last
# so many stages of the backbone.
Trainable: TypeAlias = Literal["all", "head"] | int


class Tower(nn.Module):
    """A tower maps its input to [B, embed_dim], not normalised."""

    embed_dim: int

    def stages(self) -> Sequence[nn.Module]:
        """The backbone from input to output, in the pieces by which it can be locked."""
        raise TypeError(f"{type(self).__name__} has no pretrained backbone: it can only train as a whole")

    def lock(self, trainable: Trainable) -> None:
        """Stop the gradients of all that `trainable` does not name. Locked stages also keep their BatchNorm
        statistics: see `train`."""
        self._locked: list[nn.Module] = []
        self.requires_grad_(True)
        if trainable == "all":
            return
        stages = list(self.stages())
        keep = 0 if trainable == "head" else trainable
        for stage in stages[: max(0, len(stages) - keep)]:
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

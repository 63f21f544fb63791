"""Towers through torch's compiler, in place: the weights keep their names.

The blocks of a Transformer are compiled each by itself: those that are alike share one compilation. A tower of
convolutions, whose layers are all different, is compiled whole, or in the pieces that are computed again, where they
are. Sizes are left open, so that texts of any length and batches of any size go through the same code.

What is compiled, and when, is not left to chance: a tower runs as it is written until `Compiled.learn`, and learns
there from inputs of all kinds. From then on, what it learned runs as compiled, and any other input as written. So no
batch can begin another compilation, and the code that computes it does not depend on the batches before.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from sightword.errors import RequestError, SightwordError
from sightword.towers.backbone import ImageBackbone
from sightword.towers.recompute import blocks
from sightword.towers.resnet import ResNet
from sightword.towers.tower import Tower

# Of one function (`Block.forward`) in this process: kinds of inputs, locked blocks, other towers. Torch's own limit is
# there for compilations that go on and on, and these cannot.
_COMPILATIONS = 256


class Compiled:
    """towers: taken over. recomputed: `recompute_blocks` comes next, and each block that it computes again is to be a
    piece of its own."""

    def __init__(self, *towers: Tower, recomputed: bool = False) -> None:
        self.pieces: list[_Piece] = []
        for tower in towers:
            whole = isinstance(tower, ResNet | ImageBackbone) and not recomputed
            self.pieces += [_Piece(module) for module in ([tower] if whole else blocks(tower))]

    @contextmanager
    def learn(self, asked: str) -> Generator[None, None, None]:
        """Within it, whatever comes is compiled. Each kind of input is given twice, in two sizes: torch takes sizes
        that were equal by chance for the same, until it sees others. They should be near to those of the work: some
        operators have other ways for few rows.

        asked: the setting that wanted it. Raises RequestError where it is not possible on this machine.
        """
        from torch._dynamo.exc import TorchDynamoException  # takes seconds to import

        for piece in self.pieces:
            piece.forward = piece.compiling
        try:
            with torch._dynamo.config.patch(cache_size_limit=_COMPILATIONS):  # the name that torch 2.6 knows, too
                yield
        except TorchDynamoException as failure:
            inner = getattr(failure, "inner_exception", None)
            if isinstance(inner, SightwordError):  # the system asked for an end meanwhile: torch wraps that too
                raise inner from None
            reason = str(failure).strip().splitlines()[0]
            raise RequestError(
                f"{asked}: torch cannot compile this model here ({reason}). It needs a C++ compiler (g++) on a CPU and "
                f"Triton on a GPU; do without {asked} where they are missing"
            ) from failure
        for piece in self.pieces:
            piece.forward = piece.compiled


class _Piece:
    """A module whose forward call is one of three: as written, compiling what is new, or what is compiled."""

    def __init__(self, module: nn.Module) -> None:
        import torch._dynamo

        written: Callable[..., Any] = module.forward
        # Dropout draws the numbers that it draws as written.
        self.compiling = torch.compile(written, dynamic=True, options={"fallback_random": True})
        self.compiled = torch._dynamo.run(written)
        self.forward = written
        module.forward = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

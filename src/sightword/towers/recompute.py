"""Activation checkpointing (arXiv 1604.06174): of each block only the input is kept, and the block is computed again
when its gradients are wanted. The same numbers; about a third more time for a fraction of the memory."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from sightword.towers.resnet import ResNet
from sightword.towers.text import TextTransformer
from sightword.towers.tower import Tower
from sightword.towers.vit import ViT


def recompute_blocks(tower: Tower) -> None:
    """From now on, in place. Locked blocks keep nothing as they are; randomness is played back."""
    for block in blocks(tower):
        if any(parameter.requires_grad for parameter in block.parameters()):
            block.forward = _again(block, block.forward)


def blocks(tower: Tower) -> Iterable[nn.Module]:
    """From input to output the large pieces of a tower that are computed one after the other."""
    match tower:
        case ViT() | TextTransformer():
            return tower.blocks
        case ResNet():
            return tower.layers
        case _:
            return tower.stages()


def _again(block: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    def contexts() -> tuple[Any, Any]:
        return nullcontext(), _statistics_stay(block)

    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)

    return checkpointed


@contextmanager
def _statistics_stay(block: nn.Module) -> Generator[None, None, None]:
    """The second time, a BatchNorm must not count the batch once more."""
    norms = [module for module in block.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    # As many tensors must be kept as the first time, running statistics among them: they are moved by nothing.
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms if norm.training]
    for norm, _, batches in before:
        norm.momentum = 0.0
        norm.num_batches_tracked = None if batches is None else batches.clone()
    try:
        yield
    finally:
        for norm, momentum, batches in before:
            norm.momentum, norm.num_batches_tracked = momentum, batches

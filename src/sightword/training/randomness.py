"""The random state of a step: torch's, of the CPU and of the device. Nothing else in training is random: the samples
are pure functions of seed and position."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


def random_state(device: torch.device) -> list[Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def set_random_state(state: Sequence[Tensor], device: torch.device) -> None:
    """A state that was saved on another kind of device gives the part that the two have in common."""
    torch.set_rng_state(state[0])
    if device.type == "cuda" and len(state) > 1:
        torch.cuda.set_rng_state(state[1], device)


@contextmanager
def random_state_kept(device: torch.device) -> Generator[None, None, None]:
    """Whatever the block draws, the steps after it draw the same numbers as without it."""
    state = random_state(device)
    try:
        yield
    finally:
        set_random_state(state, device)

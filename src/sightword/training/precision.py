"""In which numbers the towers of a run compute."""

from __future__ import annotations

import warnings
from typing import Literal

import torch

from sightword.embedding.precision import half_precision
from sightword.errors import SightwordWarning


def in_bf16(asked: Literal["auto", "fp32", "bf16"], device: torch.device) -> bool:
    """Whether towers run in bfloat16. `auto`: on a GPU that has it. `bf16`: on a CPU as well, if it has instructions
    for it. Without them a convolution takes some twenty times as long: the run is in float32 there, and says so."""
    if asked == "fp32" or (asked == "auto" and device.type != "cuda"):
        return False
    has = half_precision(device) == "bf16"
    if asked == "bf16" and device.type == "cpu" and not has:
        warnings.warn(
            "training.precision = 'bf16': this CPU has no instructions for it, so the run is in fp32",
            SightwordWarning,
            stacklevel=2,
        )
    return has or (asked == "bf16" and device.type != "cpu")

"""In which numbers a model computes: float32 as it was saved, or half of the bits where that is faster."""

from __future__ import annotations

import copy
import logging
import time
import warnings
from typing import Literal, TypeAlias

import torch
from torch import nn

from sightword.embedding import Precision
from sightword.errors import RequestError, SightwordWarning
from sightword.towers.dual import DualEncoder, DualEncoderConfig
from sightword.towers.tower import Tower

Chosen: TypeAlias = Literal["fp32", "bf16", "fp16"]

DTYPES: dict[Chosen, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

_SMALL = 20_000_000  # parameters of an image tower up to which half precision is not worth its rounding
_GAIN = 1.2  # how much faster half precision must be: less is within the noise, and float32 is exact
_RUNS = 3

_log = logging.getLogger(__name__)
_measured: dict[tuple[str, DualEncoderConfig], Chosen] = {}


def choose(asked: Precision, model: DualEncoder, device: torch.device) -> Chosen:
    """`auto`: fp32, or the device's half precision where the image tower is faster in it. Measured once for each
    device and architecture, in a fraction of a second."""
    if asked == "fp16" and device.type == "cpu":
        raise RequestError("fp16 is for GPUs: a CPU computes in bf16 or fp32")
    if asked == "bf16" and device.type == "cpu" and half_precision(device) is None:
        # Nothing fails there, but a convolution takes some twenty times as long.
        warnings.warn(
            "this CPU has no instructions for bf16, and computes far slower in it: precision 'auto' takes fp32 here",
            SightwordWarning,
            stacklevel=2,
        )
    if asked != "auto":
        return asked
    key = (str(device), model.config)
    if key not in _measured:
        _measured[key] = _measure(model.image, model.config.image.image_size, device)
    return _measured[key]


def convert(model: DualEncoder, precision: Chosen) -> None:
    """The weights of both towers and of a dense part's decoder, in place. What makes scores stays in float32: scale and
    bias of the logits, and what a dense part has behind its decoder. So does what makes words of pictures."""
    model.image.to(DTYPES[precision])
    if model.dense is not None:
        for part in (model.dense.reassemble, model.dense.decoder):
            if part is not None:
                part.to(DTYPES[precision])
    model.text.to(DTYPES[precision])


def _measure(tower: Tower, size: int, device: torch.device) -> Chosen:
    half = half_precision(device)
    if half is None or sum(weight.numel() for weight in tower.parameters()) < _SMALL:
        return "fp32"
    pictures = torch.zeros(32 if device.type == "cuda" else 2, 3, size, size, device=device)
    other = copy.deepcopy(tower).to(DTYPES[half])
    seconds: dict[Chosen, float] = {"fp32": float("inf"), half: float("inf")}
    for _ in range(_RUNS):  # interleaved, so that what else the machine does falls on both
        seconds["fp32"] = min(seconds["fp32"], _seconds(tower, pictures))
        seconds[half] = min(seconds[half], _seconds(other, pictures.to(DTYPES[half])))
    chosen: Chosen = half if seconds[half] * _GAIN < seconds["fp32"] else "fp32"
    _log.info(
        "precision %s on %s: %d pictures take %.0f ms in fp32 and %.0f ms in %s",
        chosen, device, len(pictures), 1000 * seconds["fp32"], 1000 * seconds[half], half,
    )  # fmt: skip
    return chosen


def half_precision(device: torch.device) -> Chosen | None:
    """The half precision that the device has instructions for."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type == "cpu" and torch.backends.mkldnn.is_available():
        return "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else None
    return None


@torch.inference_mode()
def _seconds(tower: nn.Module, pictures: torch.Tensor) -> float:
    begun = time.perf_counter()
    tower(pictures).sum().item()  # which waits for a GPU
    return time.perf_counter() - begun

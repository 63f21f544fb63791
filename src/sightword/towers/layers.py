"""The parts that every tower shares: activations, attention, the pre-norm block.

Shapes: B batch, L sequence length, W width, H heads, N the tokens of all rows without padding.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sightword.towers.configs import NORM_EPS as NORM_EPS
from sightword.towers.configs import Activation as Activation
from sightword.towers.configs import Projection as Projection
from sightword.towers.packing import Packing

_GATE = 1.702


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the activation of OpenAI's CLIP."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            y: Tensor = _QuickGELU.apply(x)
            return y
        # With one temporary instead of three: on a CPU, memory would cost as much as the layer before.
        return (_GATE * x).sigmoid_().mul_(x)


class _QuickGELU(torch.autograd.Function):
    """As silu(1.702 x) / 1.702, the derivative of which is that of silu at 1.702 x: one tensor is kept, and one pass
    over it made, where the product of x and its gate would keep three and make five."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        gate = _GATE * x
        ctx.save_for_backward(gate)
        return F.silu(gate).mul_(1 / _GATE)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outside: Tensor) -> Tensor:
        (gate,) = ctx.saved_tensors
        return torch.ops.aten.silu_backward(outside, gate)


def activation(name: Activation) -> nn.Module:
    if name == "quick_gelu":
        return QuickGELU()
    return nn.GELU(approximate="tanh" if name == "gelu_tanh" else "none")


def projection(kind: Projection, width: int, embed_dim: int) -> nn.Linear | nn.Identity:
    if kind != "none":
        return nn.Linear(width, embed_dim, bias=kind == "bias")
    if width != embed_dim:
        raise ValueError(f"a tower of width {width} needs a projection to a joint space of {embed_dim} dimensions")
    return nn.Identity()


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
    """Scaled dot-product attention, [B, H, L, W / H]. A CPU computes it in float32 also for a model in half precision:
    its kernel for bfloat16 takes twice as long at CLIP's lengths, forward and backward, and is less exact."""
    if q.device.type == "cpu" and q.dtype in (torch.bfloat16, torch.float16):
        if mask is not None and mask.is_floating_point():
            mask = mask.float()
        with torch.autocast("cpu", enabled=False):
            y = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask, is_causal=causal)
        return y.to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)


def pick(x: Tensor, only: int | Tensor) -> Tensor:
    """[B, L, ...] to [B, 1, ...]: one position of each row."""
    if isinstance(only, int):
        return x[:, only : only + 1]
    return x[torch.arange(x.shape[0], device=x.device), only][:, None]


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values (in this order)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"a width of {width} does not divide into {heads} heads")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        causal: bool = False,
        only: int | Tensor | None = None,
        packing: Packing | None = None,
    ) -> Tensor:
        """x: [B, L, W], or [N, W] with `packing`; the result is like it. only: the position that alone asks in each
        row, or int64 [B], one of each row's own; the result is then [B, 1, W]."""
        W = x.shape[-1]
        qkv_BLW = self.qkv(x) if packing is None else packing.pad(self.qkv(x))
        B, L, _ = qkv_BLW.shape
        q, k, v = qkv_BLW.view(B, L, 3, self.heads, W // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        if only is not None:
            q = pick(q.transpose(1, 2), only).transpose(1, 2)
        y_BLW = attend(q, k, v, mask, causal).transpose(1, 2).reshape(B, -1, W)
        return self.out(y_BLW if packing is None or only is not None else packing.leave_out(y_BLW))


class MLP(nn.Module):
    def __init__(self, width: int, hidden: int, act: Activation) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = activation(act)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class LayerScale(nn.Module):
    """A learned factor for each channel (CaiT: arXiv 2103.17239, section 2)."""

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), start))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)). layer_scale: both are scaled before they are added."""

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_width: int,
        act: Activation,
        eps: float = NORM_EPS,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attention = Attention(width, heads)
        self.scale1 = nn.Identity() if layer_scale is None else LayerScale(width, layer_scale)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, mlp_width, act)
        self.scale2 = nn.Identity() if layer_scale is None else LayerScale(width, layer_scale)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        causal: bool = False,
        only: int | Tensor | None = None,
        packing: Packing | None = None,
    ) -> Tensor:
        """As Attention. only: what is wanted of each row is this position alone, [B, 1, W]."""
        y = self.attention(self.norm1(x), mask, causal, only, packing)
        if only is not None:
            x = pick(x, only) if packing is None else x[packing.first + only][:, None]
        x = x + self.scale1(y)
        return x + self.scale2(self.mlp(self.norm2(x)))

"""Run by test_fused: the losses through Triton's interpreter, on the CPU; prints by how much each case differs from
float64 and from plain torch, of the largest value. TRITON_INTERPRET=1 must be set."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import triton.language as tl
from torch import Tensor
from triton.runtime import interpreter

from sightword.objectives import InfoNCE, Sigmoid, fused, tiles

B, D, K = 21, 24, 5
LABELS = torch.arange(B) % 17
CASES: dict[str, dict[str, Any]] = {
    "infonce": {},
    "hot": {"scale": 100.0},
    "labels": {"labels": LABELS},
    "two labels": {"labels": torch.stack([LABELS, torch.arange(B) // 2 + 100], dim=1)},
    "smoothing": {"smoothing": 0.1, "more": True},
    "further texts": {"labels": LABELS, "more": True, "more_labels": torch.tensor([3, 4, 90, 91, 5])},
    "unlabelled further texts": {"labels": LABELS, "more": True},
    "sigmoid": {"bias": -8.0},
    "sigmoid, no bias": {"bias": 0.0, "scale": 1.0},
    "sigmoid, labels": {"bias": -16.0, "scale": 110.0, "labels": LABELS},
    "sigmoid, further texts": {"bias": -4.0, "labels": LABELS, "more": True, "more_labels": torch.arange(K) + 14},
}


def mend() -> None:
    """Triton's interpreter (3.5 to 3.9) multiplies the bits of bfloat16 as if they were integers, and cuts where the
    hardware rounds to the nearest."""
    builder, convert = interpreter.InterpreterBuilder, interpreter._convert_float
    dot = builder.create_dot

    def wide(handle: Any) -> Any:
        if handle.dtype.scalar != tl.bfloat16:
            return handle
        return interpreter.TensorHandle((handle.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    def nearest(data: Any, source: Any, target: Any, mode: Any) -> Any:
        if source == tl.float32 and target == tl.bfloat16:
            return torch.from_numpy(np.ascontiguousarray(data)).bfloat16().view(torch.int16).numpy().view(np.uint16)
        return convert(data, source, target, mode)

    builder.create_dot = lambda self, a, b, *rest: dot(self, wide(a), wide(b), *rest)
    interpreter._convert_float = nearest


def run(case: dict[str, Any], dtype: torch.dtype, autocast: bool) -> list[Tensor]:
    """The loss, and all gradients, in float64."""
    generator = torch.Generator().manual_seed(0)
    image, text, more = (F.normalize(torch.randn(n, D, generator=generator), dim=1).bfloat16() for n in (B, B, K))
    text = F.normalize(image.float() + text.float(), dim=1).bfloat16()
    leaves = [leaf.to(dtype).requires_grad_() for leaf in (image, text, more)]
    number = torch.float64 if dtype == torch.float64 else torch.float32
    numbers = [torch.tensor(case.get(name, 20.0), dtype=number, requires_grad=True) for name in ("scale", "bias")]
    further = (leaves[2], case.get("more_labels")) if "more" in case else (None, None)
    labels = case.get("labels")
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        if "bias" in case:
            loss = Sigmoid()(leaves[0], leaves[1], *numbers, labels, *further)
        else:
            loss = InfoNCE(case.get("smoothing", 0.0))(leaves[0], leaves[1], numbers[0], labels, *further)
    (3 * loss).backward()
    return [loss.detach().double()] + [leaf.grad.double() for leaf in leaves + numbers if leaf.grad is not None]


def apart(found: list[Tensor], expected: list[Tensor]) -> float:
    differences = [(a - b).abs().max() / b.abs().max() for a, b in zip(found, expected, strict=True)]
    return float(torch.stack(differences).nan_to_num(nan=torch.inf).max())


def main() -> None:
    mend()
    small = {"BM": 16, "BN": 16, "BK": 16, "num_warps": 4, "num_stages": 1}
    fused.LOGITS = fused.LABELLED = fused.PRODUCT = small
    result: dict[str, Any] = {"trial": [fused._apart(torch.device("cpu"), 40, labels) for labels in (0, 1)]}
    tiles._TILE["cpu"] = (20, 24)
    tries = {name: [run(case, torch.float64, False), run(case, torch.float32, False)] for name, case in CASES.items()}
    calls: list[int] = []
    add = fused.Fused._add_product
    fused.Fused._add_product = lambda *given: (calls.append(1), add(*given))[1]  # type: ignore[func-returns-value]
    fused.suits = lambda device: True
    fused.works = lambda *given: True
    for name, case in CASES.items():
        calls.clear()
        found = run(case, torch.float32, True)
        exact, plain = tries[name]
        numbers = len(found) - (2 if "bias" in case else 1)  # where the gradients of scale and bias begin
        result[name] = {
            "float64": apart(found[:numbers], exact[:numbers]),
            "plain": apart(found[:numbers], plain[:numbers]),
            "numbers": apart(found[numbers:], exact[numbers:]),
            "plain numbers": apart(plain[numbers:], exact[numbers:]),
        }
        assert calls, "the kernels were not used"
    # Vectors that come in bfloat16 take their gradients in it.
    result["bfloat16"] = apart(run({}, torch.bfloat16, False), tries["infonce"][0])
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()

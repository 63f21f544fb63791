"""InfoNCE and the sigmoid loss, forward and backward, against open_clip 3.3.0's ClipLoss and SigLipLoss.

    make peers
    .venv/bin/python benchmarks/losses.py [--rows 16384] [--dim 512] [--rounds 3] [--json FILE] [--device cuda [--bf16]]

The same unit vectors, scale and bias in float32. Each measurement is a process of its own (Linux): it runs once at
1,024 rows to warm up, makes the inputs, sets the system's mark of its peak back, and then measures one pass forward
and back. `extra` is the peak of resident memory less what was resident before, and less the gradients. The sides take
turns, and ratios are made within a round. The gradients of all inputs are compared, the largest difference over the
largest of the peer's; and each side's with those of ours in float64.

On a GPU `extra` is of its memory, as torch allocates it, and the warm-up has the size of the measurement. With --bf16
both sides run under autocast and take the same vectors, all of them numbers that bfloat16 has.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from peers import import_open_clip
from torch import Tensor

from sightword.objectives import InfoNCE, Sigmoid

SIDES = ("sightword", "open_clip")
EXACT = "float64"
LOSSES = ("infonce", "sigmoid")
SCALE, BIAS = 40.0, -10.0

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def loss_of(side: str, kind: str) -> Loss:
    if side in ("sightword", EXACT):
        ours, pairwise = InfoNCE(), Sigmoid()
        return (lambda i, t, s, b: ours(i, t, s)) if kind == "infonce" else pairwise
    clip = import_open_clip()
    if kind == "infonce":
        softmax = clip.loss.ClipLoss()
        return lambda i, t, s, b: softmax(i, t, s)
    return clip.loss.SigLipLoss()  # type: ignore[no-any-return]


def inputs(rows: int, dim: int, device: str, bf16: bool) -> list[Tensor]:
    """Texts that lie near their pictures, as after some training."""
    torch.manual_seed(0)
    image = F.normalize(torch.randn(rows, dim), dim=1)
    text = F.normalize(image + 3 * F.normalize(torch.randn(rows, dim), dim=1), dim=1)
    if bf16:
        image, text = image.bfloat16().float(), text.bfloat16().float()
    leaves = (image, text, torch.tensor(SCALE), torch.tensor(BIAS))
    return [tensor.to(device).requires_grad_() for tensor in leaves]


def resident(which: str = "VmRSS") -> float:
    """MiB that are resident now, or (VmHWM) were at most since this was last asked for what is resident now."""
    if which == "VmRSS":
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(which))) / 1024


def measure(side: str, kind: str, rows: int, dim: int, out: Path, device: str, bf16: bool) -> None:
    loss, gpu = loss_of(side, kind), device == "cuda"

    def once(leaves: list[Tensor]) -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=bf16 and side != EXACT):
            value = loss(*leaves)
        value.backward()
        if gpu:
            torch.cuda.synchronize()
        return value

    leaves = inputs(rows, dim, device, bf16)
    if side == EXACT:
        leaves = [leaf.detach().double().requires_grad_() for leaf in leaves]
    once(inputs(rows if gpu and side != EXACT else 1024, dim, device, bf16))
    if gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() / 2**20 if gpu else resident()
    begun = time.perf_counter()
    value = once(leaves)
    seconds = time.perf_counter() - begun
    peak = torch.cuda.max_memory_allocated() / 2**20 if gpu else resident("VmHWM")
    extra = peak - before - sum(leaf.nbytes for leaf in leaves) / 2**20
    gradients = {str(n): leaf.grad.cpu().numpy() for n, leaf in enumerate(leaves) if leaf.grad is not None}
    np.savez(out, loss=value.detach().cpu().numpy(), seconds=seconds, extra=extra, **gradients)


def run(side: str, kind: str, rows: int, dim: int, device: str, bf16: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.npz"
        command = [sys.executable, __file__, "--one", side, kind, str(out), "--rows", str(rows), "--dim", str(dim)]
        command += ["--device", device, *(["--bf16"] if bf16 else [])]
        subprocess.run(command, check=True)
        with np.load(out) as found:
            return dict(found)


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, float]:
    """By gradient."""
    return {key: float(abs(ours[key] - theirs[key]).max() / abs(theirs[key]).max()) for key in ours if key.isdigit()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=16384)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--bf16", action="store_true", help="both sides under autocast")
    parser.add_argument("--one", nargs=3, metavar=("SIDE", "LOSS", "OUT"), help="measure one side alone")
    given = parser.parse_args()
    if given.one:
        measure(given.one[0], given.one[1], given.rows, given.dim, Path(given.one[2]), given.device, given.bf16)
        return
    where = torch.cuda.get_device_name() if given.device == "cuda" else f"{torch.get_num_threads()} threads"
    numbers = "bf16" if given.bf16 else "fp32"
    print(f"{given.rows} rows of {given.dim}, {numbers}, {where}, torch {torch.__version__}")
    size = (given.rows, given.dim, given.device, given.bf16)
    result = {}
    for kind in LOSSES:
        rounds = [{side: run(side, kind, *size) for side in SIDES} for _ in range(given.rounds)]
        ours, theirs = rounds[-1]["sightword"], rounds[-1]["open_clip"]
        exact = run(EXACT, kind, *size)
        apart = differences(ours, theirs)
        from_exact = {side: differences(rounds[-1][side], exact) for side in SIDES}
        shares = sorted(float(found["sightword"]["seconds"] / found["open_clip"]["seconds"]) for found in rounds)
        for side in SIDES:
            seconds = sorted(float(found[side]["seconds"]) for found in rounds)
            extra = statistics.median(float(found[side]["extra"]) for found in rounds)
            spread = f"{seconds[0]:.2f}–{seconds[-1]:.2f}"
            print(f"{kind} {side}: {statistics.median(seconds):.2f} s ({spread}), {extra:.0f} MiB")
        print(f"{kind}: time {statistics.median(shares):.3f} ({shares[0]:.3f}–{shares[-1]:.3f}) of open_clip's;")
        print(f"  losses {ours['loss']:.7f} and {theirs['loss']:.7f}; gradients apart by {max(apart.values()):.1e}")
        for side, values in from_exact.items():
            print(f"  {side} from float64: gradients {max(values.values()):.1e}")
        result[kind] = {
            "times": shares,
            "gradients": apart,
            "from_float64": from_exact,
            "extra": {side: [float(found[side]["extra"]) for found in rounds] for side in SIDES},
            "seconds": {side: [float(found[side]["seconds"]) for found in rounds] for side in SIDES},
        }
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""InfoNCE and the sigmoid loss, forward and backward, against open_clip 3.3.0's ClipLoss and SigLipLoss.

    make peers
    .venv/bin/python benchmarks/losses.py [--rows 16384] [--dim 512] [--rounds 3] [--json FILE]

The same unit vectors, scale and bias in float32. Each measurement is a process of its own: it makes the inputs, takes
the memory that it has by then (with room for the gradients), runs once at 1,024 rows to warm up, and then measures one
forward and backward. `extra` is the peak of resident memory beyond that. The sides take turns, and ratios are made
within a round. The gradients of all inputs are compared: the largest difference over the largest of the peer's.
"""

from __future__ import annotations

import argparse
import json
import resource
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
LOSSES = ("infonce", "sigmoid")
SCALE, BIAS = 40.0, -10.0

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def loss_of(side: str, kind: str) -> Loss:
    if side == "sightword":
        ours, pairwise = InfoNCE(), Sigmoid()
        return (lambda i, t, s, b: ours(i, t, s)) if kind == "infonce" else pairwise
    clip = import_open_clip()
    if kind == "infonce":
        softmax = clip.loss.ClipLoss()
        return lambda i, t, s, b: softmax(i, t, s)
    return clip.loss.SigLipLoss()  # type: ignore[no-any-return]


def inputs(rows: int, dim: int) -> list[Tensor]:
    """Texts that lie near their pictures, as after some training."""
    torch.manual_seed(0)
    image = F.normalize(torch.randn(rows, dim), dim=1)
    text = F.normalize(image + 3 * F.normalize(torch.randn(rows, dim), dim=1), dim=1)
    return [tensor.requires_grad_() for tensor in (image, text, torch.tensor(SCALE), torch.tensor(BIAS))]


def measure(side: str, kind: str, rows: int, dim: int, out: Path) -> None:
    loss = loss_of(side, kind)
    loss(*inputs(1024, dim)).backward()
    leaves = inputs(rows, dim)
    room = [torch.ones_like(leaf) for leaf in leaves]  # touched, so that the gradients' own memory is not counted
    del room
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    value = loss(*leaves)
    value.backward()
    seconds = time.perf_counter() - begun
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    gradients = {str(n): leaf.grad.numpy() for n, leaf in enumerate(leaves) if leaf.grad is not None}
    np.savez(out, loss=value.detach().numpy(), seconds=seconds, extra=extra, **gradients)


def run(side: str, kind: str, rows: int, dim: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.npz"
        command = [sys.executable, __file__, "--one", side, kind, str(out), "--rows", str(rows), "--dim", str(dim)]
        subprocess.run(command, check=True)
        with np.load(out) as found:
            return dict(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=16384)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=3, metavar=("SIDE", "LOSS", "OUT"), help="measure one side alone")
    given = parser.parse_args()
    if given.one:
        measure(given.one[0], given.one[1], given.rows, given.dim, Path(given.one[2]))
        return
    print(f"{given.rows} rows of {given.dim}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    result = {}
    for kind in LOSSES:
        rounds = [{side: run(side, kind, given.rows, given.dim) for side in SIDES} for _ in range(given.rounds)]
        ours, theirs = rounds[-1]["sightword"], rounds[-1]["open_clip"]
        apart = {key: abs(ours[key] - theirs[key]).max() / abs(theirs[key]).max() for key in ours if key.isdigit()}
        shares = sorted(float(found["sightword"]["seconds"] / found["open_clip"]["seconds"]) for found in rounds)
        for side in SIDES:
            seconds = sorted(float(found[side]["seconds"]) for found in rounds)
            extra = statistics.median(float(found[side]["extra"]) for found in rounds)
            spread = f"{seconds[0]:.2f}–{seconds[-1]:.2f}"
            print(f"{kind} {side}: {statistics.median(seconds):.2f} s ({spread}), {extra:.0f} MB")
        print(f"{kind}: time {statistics.median(shares):.3f} ({shares[0]:.3f}–{shares[-1]:.3f}) of open_clip's;")
        print(f"  losses {ours['loss']:.7f} and {theirs['loss']:.7f}; gradients apart by {max(apart.values()):.1e}")
        result[kind] = {
            "times": shares,
            "gradients": {key: float(value) for key, value in apart.items()},
            "extra": {side: [float(found[side]["extra"]) for found in rounds] for side in SIDES},
            "seconds": {side: [float(found[side]["seconds"]) for found in rounds] for side in SIDES},
        }
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

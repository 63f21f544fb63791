"""Retrieval on vectors that are there already, 25,000 texts x 5,000 images of 512 dimensions, against clip-benchmark.

    make peers
    .venv/bin/python benchmarks/retrieval.py [--repeats 3] [--texts 25000] [--images 5000] [--json FILE]

Random vectors in which a caption leans to its image; five captions an image. The peer is clip-benchmark's own
`zeroshot_retrieval.evaluate` at its default batch of 64, on the CPU, with a model that hands the vectors through:
R@1/5/10 both ways. Ours gives the same and ranks, intervals and ties. Both take turns; ratios are made within a repeat.
The six shares must be equal within 1e-6, or nothing is reported. Memory: how far the process grew at most beyond what
it held before (Linux).
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers import declare_operators

from sightword.evaluation.retrieval import retrieval

BATCH, KS = 64, [1, 5, 10]


class HandsThrough:
    """What clip-benchmark takes for a model: its pictures and texts are vectors."""

    def encode_image(self, vectors: torch.Tensor) -> torch.Tensor:
        return vectors

    encode_text = encode_image


def peer(texts_MD: torch.Tensor, images_ND: torch.Tensor) -> dict[str, float]:
    declare_operators()
    from clip_benchmark.metrics import zeroshot_retrieval

    each = len(texts_MD) // len(images_ND)
    zeroshot_retrieval.tqdm = lambda batches: batches
    batches = [
        (images_ND[at : at + BATCH], list(texts_MD.view(len(images_ND), each, -1)[at : at + BATCH]))
        for at in range(0, len(images_ND), BATCH)
    ]
    return zeroshot_retrieval.evaluate(HandsThrough(), batches, torch.stack, "cpu", amp=False, recall_k_list=KS)


def resident(which: str) -> float:
    """MiB that the process holds (VmRSS), or has held at most (VmHWM) since that was reset."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(which))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--texts", type=int, default=25_000)
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()

    rng = np.random.default_rng(0)
    images_ND = rng.normal(size=(given.images, 512))
    image_of_text = np.repeat(np.arange(given.images), given.texts // given.images)
    texts_MD = 0.15 * images_ND[image_of_text] + rng.normal(size=(len(image_of_text), 512))
    images_ND, texts_MD = (
        (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32) for rows in (images_ND, texts_MD)
    )
    seconds: dict[str, list[float]] = {"Sightword": [], "clip-benchmark": []}
    results: dict[str, dict[str, float]] = {}
    memory: dict[str, float] = {}
    for _ in range(given.repeats):
        for side in seconds:
            Path("/proc/self/clear_refs").write_text("5")
            before, begun = resident("VmRSS"), time.perf_counter()
            if side == "Sightword":
                rows = retrieval(texts_MD, images_ND, image_of_text, KS).rows("", "", "")
                results[side] = {row.metric: row.value for row in rows}
            else:
                results[side] = peer(torch.from_numpy(texts_MD), torch.from_numpy(images_ND))
            seconds[side].append(time.perf_counter() - begun)
            memory[side] = max(memory.get(side, 0.0), resident("VmHWM") - before)
            print(f"{side}: {seconds[side][-1]:.2f} s", flush=True)

    ours, theirs = results["Sightword"], results["clip-benchmark"]
    difference = max(abs(theirs[key] - value) for key, value in ours.items())
    if difference > 1e-6:
        raise SystemExit(f"not the same: {ours} against {theirs}")
    ratios = [slow / fast for slow, fast in zip(seconds["clip-benchmark"], seconds["Sightword"], strict=True)]
    versions = {name: version(name) for name in ("numpy", "torch", "clip-benchmark")}
    print(f"\n{platform.machine()}, {torch.get_num_threads()} threads, {versions}")
    print(f"{len(texts_MD)} texts x {len(images_ND)} images, 512 dimensions; largest difference {difference:.1e}\n")
    for side, times in seconds.items():
        spread = f"({min(times):.2f}–{max(times):.2f})"
        print(f"{side:16}{statistics.median(times):8.2f} s {spread:16}+{memory[side]:.0f} MiB")
    print(f"clip-benchmark takes {statistics.median(ratios):.1f} times as long ({min(ratios):.1f}–{max(ratios):.1f})")
    record: dict[str, Any] = {"seconds": seconds, "ratios": ratios, "memory": memory, "versions": versions}
    if given.json:
        given.json.write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()

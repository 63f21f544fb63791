"""The memory of embedding 100,000 texts and 100,000 pictures: flat after the warm-up.

    .venv/bin/python benchmarks/memory.py [--count 100000]

A model so small that the time goes into the way to it; pictures are drawn as they are asked for, every text is another.
Texts go through `embed_texts`, a tenth a call; pictures through `iter_images`, whose
vectors are dropped. Prints the resident memory of the process at every tenth. The mean of the last three is compared
with that of the second to the fourth, since single values move by some percent; more than 5 % growth fails.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np
import torch

from sightword.checkpoints.contract import Contract
from sightword.data.images import ImageSpec
from sightword.data.tokenizer import train_tokenizer
from sightword.embedding.embedder import Embedder
from sightword.towers.dual import DualEncoder
from sightword.towers.presets import preset

GROWTH = 0.05


def resident() -> float:
    """Of this process, in MiB."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def small_embedder() -> Embedder:
    tokenizer = train_tokenizer(["a photo of one thing and of another"] * 3, vocabulary=320, context=16)
    architecture = preset("ViT-test")
    text = architecture.text.model_copy(update={"vocabulary": tokenizer.vocabulary, "context": 16})
    architecture = architecture.model_copy(update={"text": text})
    image = ImageSpec(size=architecture.image.image_size)
    contract = Contract(architecture=architecture, image=image, text=tokenizer.spec)
    torch.manual_seed(0)
    return Embedder(DualEncoder(architecture), contract, tokenizer, device="cpu")


def pictures(count: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)


def report(what: str, count: int, tenths: list[float], seconds: float) -> None:
    growth = sum(tenths[-3:]) / sum(tenths[1:4]) - 1
    print(f"{what}: {count:,} in {seconds:.0f} s; MiB at every tenth: " + " ".join(f"{mib:.0f}" for mib in tenths))
    print(f"{what}: {100 * growth:+.1f} % from the second to fourth tenth to the last three", flush=True)
    if growth > GROWTH:
        raise SystemExit(f"{what}: the memory grew by {100 * growth:.1f} %")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100_000)
    count = parser.parse_args().count
    embedder = small_embedder()

    begun, tenths, seen = time.perf_counter(), [], 0
    for batch in embedder.iter_images(pictures(count)):
        seen += len(batch.positions)
        if seen >= count * (len(tenths) + 1) // 10:
            tenths.append(resident())
    report("pictures", count, tenths, time.perf_counter() - begun)

    begun, tenths = time.perf_counter(), []
    for tenth in range(10):
        first, last = count * tenth // 10, count * (tenth + 1) // 10
        embedder.embed_texts([f"a photo of thing {number}" for number in range(first, last)])
        tenths.append(resident())
    report("texts", count, tenths, time.perf_counter() - begun)


if __name__ == "__main__":
    main()

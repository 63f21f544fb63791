"""The memory of a training process over 20 epochs of a small run: flat after the second epoch.

    .venv/bin/python benchmarks/training_memory.py [--epochs 20] [--workers 2]

Drawn pictures of 96 pixels, a small model, validation and snapshots on the way, as in any run. Prints the resident
memory of the process (its reading threads included) at the end of every epoch, and of processes that it started;
growth of more than 5 % after the second epoch fails.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from sightword.data.folder import read_pairs
from sightword.embedding.embedder import Embedder
from sightword.training.loop import Status, train
from sightword.training.recipe import read_recipe

GROWTH = 0.05
PAIRS, BATCH = 640, 32
_RECIPE = """
title = "memory"
[data]
source = "pairs"
path = "unused"
[augment]
crop = [0.6, 1.0]
hue = 5.0
[model]
embed_dim = 64
[model.image]
kind = "vit"
image_size = 32
patch = 8
width = 64
layers = 2
heads = 2
[model.text]
kind = "transformer"
vocabulary = 400
width = 64
layers = 1
heads = 2
[training]
steps = 1
batch_size = 32
lr = 1e-3
ema = 0.99
every = 50
"""


def draw_pairs(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(PAIRS):
        pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((96, 96)).save(folder / f"{number:04}.jpg")
        (folder / f"{number:04}.txt").write_text(f"picture number {number} of some, seen {number % 7} times")


def children() -> float:
    """What the processes hold that this one started, in MiB."""
    total = 0.0
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            with suppress(OSError, IndexError):  # one that has just ended
                total += int(Path(f"/proc/{child}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
    return total


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    epoch = PAIRS // BATCH  # steps
    seen: list[float] = []

    def look(status: Status) -> None:
        if status.step % epoch == 0:
            seen.append(status.memory["memory_mib"] + children())
            print(f"epoch {status.step // epoch}: {seen[-1]:.1f} MiB", flush=True)

    def validate(embedder: Embedder) -> dict[str, float | str]:
        embedder.embed_texts([f"picture number {number}" for number in range(64)])
        return {"metric": "top1", "value": 0.5}

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pairs").mkdir()
        draw_pairs(folder / "pairs")
        (folder / "recipe.toml").write_text(_RECIPE)
        changes = [f"training.steps={options.epochs * epoch}", f"data.workers={options.workers}"]
        recipe = read_recipe(folder / "recipe.toml", changes)
        train(recipe, folder / "run", read_pairs(folder / "pairs"), validate, "cpu", look)
    growth = max(seen[2:]) / seen[1] - 1
    print(f"{options.epochs} epochs, {options.workers} workers: {100 * growth:+.1f} % at most after the second epoch")
    if growth > GROWTH:
        raise SystemExit("the memory grew")


if __name__ == "__main__":
    main()

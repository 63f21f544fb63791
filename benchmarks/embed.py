"""`embed` over many small pictures: does its memory stay flat, and what does it cost beside `embed_images`?

    python benchmarks/embed.py --images 100000

The model is tiny and random and the pictures are small, so that everything that is not the model shows. The files are
hard links to a hundred pictures: listing and opening cost what they cost for as many files.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import sightword
from sightword.checkpoints.contract import Contract
from sightword.checkpoints.native import save_checkpoint
from sightword.data.images import ImageSpec
from sightword.data.tokenizer import train_tokenizer
from sightword.embedding.bulk import embed
from sightword.towers.dual import DualEncoder
from sightword.towers.presets import preset


def save_tiny_model(folder: Path) -> None:
    tokenizer = train_tokenizer(("a red circle", "a green square"), vocabulary=300, context=16)
    architecture = preset("ViT-test")
    text = architecture.text.model_copy(update={"vocabulary": tokenizer.vocabulary, "context": tokenizer.spec.context})
    architecture = architecture.model_copy(update={"text": text})
    contract = Contract(
        architecture=architecture, image=ImageSpec(size=architecture.image.image_size), text=tokenizer.spec
    )
    torch.manual_seed(0)
    save_checkpoint(folder, DualEncoder(contract.architecture), contract, tokenizer)


def make_pictures(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    originals = []
    for number in range(100):
        path = folder / f"{number:07d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (48, 48, 3), np.uint8)).save(path)
        originals.append(path)
    for number in range(100, count):
        path = folder / f"{number // 10_000:04d}" / f"{number:07d}.jpg"
        path.parent.mkdir(exist_ok=True)
        os.link(originals[number % 100], path)


def resident() -> float:
    """MiB of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--beside", type=int, default=10_000, help="how many are also embedded by embed_images")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        save_tiny_model(folder / "model")
        make_pictures(folder / "pictures", arguments.images)
        seen: dict[int, float] = {}

        def progress(done: int, total: int | None) -> None:
            tenth = -1 if total is None else 10 * done // total
            seen.setdefault(tenth, resident())

        report = embed(folder / "pictures", folder / "model", folder / "out", device="cpu", progress=progress)
        print(f"sightword {sightword.__version__}, torch {torch.__version__}, {torch.get_num_threads()} threads")
        for tenth, memory in sorted(seen.items()):
            print(f"{'listing' if tenth < 0 else f'{10 * tenth:3d} %':>8}  {memory:7.1f} MiB")
        rate = report.embedded / report.seconds
        print(f"embed: {report.embedded:,} vectors in {report.seconds:.1f} s, {rate:.0f} a second")

        few = folder / "few"
        make_pictures(few, arguments.beside)
        files = sorted(few.rglob("*.jpg"))
        model = sightword.load(folder / "model", device="cpu")
        times: dict[str, list[float]] = {"embed": [], "embed_images": []}
        for turn in range(3):  # in turns, so that other work on the machine meets both
            began = time.monotonic()
            embed(few, folder / "model", folder / f"few-{turn}", device="cpu")
            times["embed"].append(time.monotonic() - began)
            began = time.monotonic()
            model.embed_images(files)
            times["embed_images"].append(time.monotonic() - began)
        for name, seconds in times.items():
            rates = sorted(arguments.beside / second for second in seconds)
            listed = ", ".join(f"{rate:.0f}" for rate in rates)
            print(f"{name:>12}: {listed} a second ({arguments.beside:,} pictures)")


if __name__ == "__main__":
    main()

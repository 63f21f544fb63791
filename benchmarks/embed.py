"""`embed` over 100,000 small files: its memory, and what it costs beside `embed_images`.

    .venv/bin/python benchmarks/embed.py [--count 100000] [--beside 5000]

A model so small that everything else shows. The files are hard links to a hundred pictures: listing and opening them
cost what they cost for as many files. The rates count all: loading the model, listing, writing; the two go by turns.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from memory import pictures, report, resident, small_embedder
from PIL import Image

import sightword
from sightword.checkpoints.native import save_checkpoint

TURNS = 3


def make_files(folder: Path, count: int) -> list[Path]:
    files = [folder / f"{number // 10_000:04d}" / f"{number:07d}.jpg" for number in range(count)]
    for file in files[::10_000]:
        file.parent.mkdir(parents=True)
    for file, values in zip(files, pictures(100), strict=False):
        Image.fromarray(values).save(file)
    for number, file in enumerate(files[100:]):
        os.link(files[number % 100], file)
    return files


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--beside", type=int, default=5_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, model = Path(place), Path(place) / "model"
        small = small_embedder()
        save_checkpoint(model, small.model, small.contract, small.tokenizer)

        make_files(folder / "files", arguments.count)
        tenths: list[float] = []

        def progress(done: int, total: int | None) -> None:
            if total and done >= total * (len(tenths) + 1) // 10:
                tenths.append(resident())

        made = sightword.embed(folder / "files", model, folder / "out", device="cpu", progress=progress)
        report("files", made.embedded, tenths, made.seconds)

        files = make_files(folder / "few", arguments.beside)
        rates: dict[str, list[float]] = {"embed": [], "embed_images": []}
        for turn in range(TURNS):
            begun = time.perf_counter()
            sightword.embed(folder / "few", model, folder / f"few-{turn}", device="cpu")
            between = time.perf_counter()
            sightword.load(model, device="cpu").embed_images(files)
            rates["embed"].append(arguments.beside / (between - begun))
            rates["embed_images"].append(arguments.beside / (time.perf_counter() - between))
        for name, values in rates.items():
            print(f"{name:>12}: {', '.join(f'{rate:.0f}' for rate in sorted(values))} files a second")


if __name__ == "__main__":
    main()

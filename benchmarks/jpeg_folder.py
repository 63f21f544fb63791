"""A folder of JPEGs to vectors, ViT-B/32, end to end, against open_clip 3.3.0 on the same weights.

    make peers
    .venv/bin/python benchmarks/jpeg_folder.py [--pictures 600] [--rounds 3] [--work DIR] [--json FILE]

600 pictures of 1600 x 1200 (photographs.py), random weights of the full size. open_clip with its own transform in a
torch DataLoader of 0, 1 and 2 workers, batches of 64, fp32, inference_mode; its best is what counts. Ours is
`embed_images`, in fp32 and in bf16. All sides take turns within a round, and ratios are made within a round. Before,
each side does 64 pictures that are not counted. `model` is the tower alone on pixels in memory, `decode` reading and
preparing alone. The cosine is that of a picture's vector here to open_clip's in fp32; beside it stands that of
different pictures, which random weights put near to one another, and the one after their mean is taken away.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from folders import make_b32
from peers import import_open_clip
from photographs import make_photographs
from PIL import Image

import sightword
from sightword.embedding.embedder import Vectors
from sightword.model import Model

BATCH, WORKERS, COSINE = 64, (0, 1, 2), 0.999


class Files(torch.utils.data.Dataset[torch.Tensor]):
    def __init__(self, files: Sequence[Path], transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.files, self.transform = files, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, at: int) -> torch.Tensor:
        with Image.open(self.files[at]) as picture:
            return self.transform(picture)


def loader(files: Sequence[Path], transform: Any, workers: int) -> torch.utils.data.DataLoader[torch.Tensor]:
    return torch.utils.data.DataLoader(Files(files, transform), batch_size=BATCH, num_workers=workers)


@torch.inference_mode()
def peer(model: Any, transform: Any, files: Sequence[Path], workers: int) -> Vectors:
    parts = [model.encode_image(batch, normalize=True) for batch in loader(files, transform, workers)]
    return torch.cat(parts).numpy()


@torch.inference_mode()
def peer_model(model: Any, count: int) -> None:
    batch = torch.randn(BATCH, 3, 224, 224)
    for _ in range(count // BATCH):
        model.encode_image(batch, normalize=True)


@torch.inference_mode()
def peer_read(transform: Any, files: Sequence[Path], workers: int) -> None:
    for _ in loader(files, transform, workers):
        pass


def ours_read(model: Model, files: Sequence[Path]) -> None:
    for _ in model.read_images(files, BATCH):
        pass


def ours_model(model: Model, count: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, 224, 224, 3), dtype=np.uint8)
    for _ in range(count // BATCH):
        model.embed_pixels(pixels)


def cosines(ours: Vectors, theirs: Vectors) -> dict[str, float]:
    """The least of our vectors to theirs, plain and with the mean of theirs taken away; the mean of all others."""
    mean = theirs.mean(axis=0)
    centred = [(rows - mean) / np.linalg.norm(rows - mean, axis=1, keepdims=True) for rows in (ours, theirs)]
    others = (theirs @ theirs.T)[~np.eye(len(theirs), dtype=bool)]
    return {
        "least": float((ours * theirs).sum(axis=1).min()),
        "least, centred": float((centred[0] * centred[1]).sum(axis=1).min()),
        "different pictures": float(others.mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "sightword-jpeg-folder")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()

    clip = import_open_clip()
    make_b32(given.work)
    files = make_photographs(given.work / "pictures", given.pictures)
    theirs, transform = clip.create_model_from_pretrained(f"local-dir:{given.work / 'open_clip'}")
    theirs.eval()
    ours = {name: sightword.load(given.work / "open_clip", device="cpu", precision=name) for name in ("fp32", "bf16")}

    count = len(files)
    timed: dict[str, Callable[[Sequence[Path]], Any]] = {
        **{f"open_clip, {n} workers": lambda f, n=n: peer(theirs, transform, f, n) for n in WORKERS},
        **{f"sightword {name}": lambda f, m=m: m.embed_images(f, BATCH) for name, m in ours.items()},
        "open_clip, decode": lambda f: peer_read(transform, f, 2),
        "sightword, decode": lambda f: ours_read(ours["fp32"], f),
        "open_clip, model": lambda f: peer_model(theirs, len(f)),
        **{f"sightword {name}, model": lambda f, m=m: ours_model(m, len(f)) for name, m in ours.items()},
    }
    for run in timed.values():
        run(files[:BATCH])
    rounds: list[dict[str, float]] = []
    vectors: dict[str, Vectors] = {}
    for number in range(given.rounds):
        seconds: dict[str, float] = {}
        for name, run in timed.items():
            begun = time.perf_counter()
            made = run(files)
            seconds[name] = time.perf_counter() - begun
            if made is not None:
                vectors[name] = made
        rounds.append(seconds)
        print(
            f"round {number + 1}: " + " · ".join(f"{name} {count / s:.1f}" for name, s in seconds.items()), flush=True
        )

    print(f"\nimages/s, median of {given.rounds} rounds (least to most)")
    for name in timed:
        ordered = sorted((count // BATCH * BATCH if "model" in name else count) / seconds[name] for seconds in rounds)
        print(f"{name:24} {statistics.median(ordered):7.1f} ({ordered[0]:.1f} to {ordered[-1]:.1f})")
    result: dict[str, Any] = {"rounds": rounds, "pictures": count, "machine": platform.processor(), "ratios": {}}
    for name in ours:
        side = f"sightword {name}"
        ratios = sorted(min(seconds[f"open_clip, {n} workers"] for n in WORKERS) / seconds[side] for seconds in rounds)
        near = cosines(vectors[side], vectors["open_clip, 0 workers"])
        result["ratios"][side] = {"times": ratios, "cosine": near}
        print(
            f"{side}: {statistics.median(ratios):.2f} times open_clip's best ({ratios[0]:.2f} to {ratios[-1]:.2f}); "
            + ", ".join(f"cosine {what} {value:.5f}" for what, value in near.items())
        )
        if near["least"] < COSINE:
            raise SystemExit(f"{side}: a cosine of {near['least']:.5f} is less than {COSINE}")
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

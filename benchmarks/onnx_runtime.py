"""The exported folder in ONNX Runtime against the model in torch: ViT-B/32, random weights of the full size, fp32.

    .venv/bin/python benchmarks/onnx_runtime.py [--threads 2] [--pictures 64] [--texts 256] [--rounds 5] [--json FILE]

Pictures are arrays of the model's size, so that the towers are measured and not the decoding. Texts are captions of
random words, which have little in common. The sides take turns within a round, and the ratio is made within a round; a
first round is not counted. `start` is a new process that imports, loads and embeds one picture and one text.
The vectors of both sides must be the same within 1e-4, or nothing is reported.
"""

from __future__ import annotations

import argparse
import json
import random
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

import sightword
from sightword.checkpoints.contract import Contract
from sightword.checkpoints.native import save_checkpoint
from sightword.data.images import ImageSpec
from sightword.data.tokenizer import train_tokenizer
from sightword.onnx.export import export_onnx
from sightword.towers.dual import DualEncoder
from sightword.towers.presets import preset

LIMIT = 1e-4
WORDS = [
    f"{first}{second}" for first in ("ba", "co", "di", "fu", "le", "mo") for second in ("ran", "set", "tin", "vol")
]
START = """
import sys
import numpy as np
import sightword

load = {"torch": lambda: sightword.load(sys.argv[2], device="cpu"), "onnx": lambda: sightword.load_onnx(sys.argv[2])}
model = load[sys.argv[1]]()
model.embed_images([np.zeros((224, 224, 3), np.uint8)])
model.embed_texts(["a photo of a cat"])
"""


def make(folder: Path) -> None:
    tokenizer = train_tokenizer(WORDS, vocabulary=400, context=77)
    torch.manual_seed(0)
    architecture = preset("ViT-B/32")
    contract = Contract(architecture=architecture, image=ImageSpec(size=224), text=tokenizer.spec)
    save_checkpoint(folder / "torch", DualEncoder(architecture), contract, tokenizer)
    export_onnx(folder / "torch", folder / "onnx")


def seconds(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rng = np.random.default_rng(0)
    pictures = list(rng.integers(0, 256, (options.pictures, 224, 224, 3)).astype(np.uint8))
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(4, 12))) for _ in range(options.texts)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder)
        sides = {
            "torch": sightword.load(folder / "torch", device="cpu"),
            "onnx": sightword.load_onnx(folder / "onnx", threads=options.threads),
        }
        differences = {
            "pictures": np.abs(np.subtract(*(side.embed_images(pictures[:8]) for side in sides.values()))).max(),
            "texts": np.abs(np.subtract(*(side.embed_texts(texts[:64]) for side in sides.values()))).max(),
        }
        if not max(differences.values()) <= LIMIT:
            sys.exit(f"the vectors differ: {differences}")

        def start(side: str) -> Callable[[], Any]:
            return lambda: subprocess.run([sys.executable, "-c", START, side, str(folder / side)], check=True)

        works: dict[str, dict[str, Callable[[], Any]]] = {
            "pictures": {name: lambda side=side: side.embed_images(pictures) for name, side in sides.items()},
            "texts": {name: lambda side=side: side.embed_texts(texts) for name, side in sides.items()},
            "start": {name: start(name) for name in sides},
        }
        took: dict[str, dict[str, list[float]]] = {what: {name: [] for name in sides} for what in works}
        for number in range(options.rounds + 1):
            for what, by_side in works.items():
                for name, work in by_side.items():
                    spent = seconds(work)
                    if number:
                        took[what][name].append(spent)
    results: dict[str, Any] = {"difference": {what: float(value) for what, value in differences.items()}}
    for what, count in (("pictures", len(pictures)), ("texts", len(texts)), ("start", 1)):
        by_side = took[what]
        ratios = [torch_s / onnx_s for torch_s, onnx_s in zip(by_side["torch"], by_side["onnx"], strict=True)]
        median = {name: statistics.median(values) for name, values in by_side.items()}
        results[what] = {"seconds": median, "ratio": statistics.median(ratios), "ratios": ratios}
        told = ", ".join(
            f"{name} {spent:.2f} s" if what == "start" else f"{name} {count / spent:.1f}/s"
            for name, spent in median.items()
        )
        ratio = f"{results[what]['ratio']:.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        print(f"{what}: {told}; ONNX Runtime {ratio} times as fast")
    print(f"largest difference: pictures {differences['pictures']:.1e}, texts {differences['texts']:.1e}")
    if options.json:
        options.json.write_text(json.dumps(vars(options) | {"json": None} | results, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""A training step of ViT-B/32 against open_clip 3.3.0: same weights, pictures, captions, AdamW and learning rate.

    make peers
    .venv/bin/python benchmarks/training_step.py [--precision bf16] [--batch 32] [--steps 20] [--compile] [--json FILE]

Captions of 8 to 20 tokens, start and end included. open_clip's step is the one of its trainer: its model and ClipLoss,
texts padded to 77 as its tokenizer does, torch's AdamW with decay on matrices, and autocast to bfloat16 where `bf16` is
asked for (its amp_bf16). Ours is `Stepper`, what `sightword train` runs. The two take turns step by step, the first
step of each is not timed, and the losses of all steps are compared. Nothing is read from disk: pictures are in memory,
ours as bytes and theirs normalised. --compile: ours takes a turn more, with `training.compile`; what it learns before
the first step is timed by itself.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from folders import make_b32
from peers import import_open_clip

from sightword.checkpoints.families import load_folder
from sightword.data.images import ImageSpec
from sightword.data.pairs import Batch, Tokens
from sightword.embedding.precision import half_precision
from sightword.training.compiling import compile_towers
from sightword.training.recipe import read_recipe
from sightword.training.step import Stepper
from sightword.training.views import Views

RATE, CONTEXT, VOCABULARY = 1e-4, 77, 49_408


def make_batches(count: int, size: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    batches = []
    for number in range(count):
        lengths = torch.randint(8, 21, (size,), generator=generator)
        ids = torch.randint(1, VOCABULARY - 2, (size, int(lengths.max())), generator=generator)
        ids[:, 0] = VOCABULARY - 2
        for row, length in enumerate(lengths.tolist()):
            ids[row, length - 1] = VOCABULARY - 1
            ids[row, length:] = 0
        images = torch.randint(0, 256, (size, 3, 224, 224), dtype=torch.uint8, generator=generator)
        marks = torch.arange(size)[:, None].expand(-1, 2)
        keys = tuple(f"{number}-{at}" for at in range(size))
        batches.append(Batch(images, Tokens(ids, lengths), marks, keys, marks[:, 0]))
    return batches


def ours(work: Path, precision: str, compiled: Batch | None = None) -> Callable[[Batch], float]:
    """compiled: a batch such as the steps will bring, to be compiled for."""
    model, contract, _ = load_folder(work / "open_clip")
    training = [
        f"batch_size={len(compiled) if compiled else 1}",
        "optimizer=adamw",
        "decay=0.2",
        "betas=[0.9, 0.98]",
        "eps=1e-6",
        "clip=0",
        "scale_lr=1.0",
        f"precision={precision}",
        f"compile={str(bool(compiled)).lower()}",
    ]
    recipe = read_recipe(Path(__file__).parent.parent / "recipes/scratch.toml", [f"training.{key}" for key in training])
    stepper = Stepper(model.train(), contract, recipe, torch.device("cpu"))
    if compiled:
        begun = time.perf_counter()
        views = Views(contract.architecture.image, recipe.training)
        compile_towers(stepper, compiled, views, recipe.training.batch_size)
        print(f"compiled in {time.perf_counter() - begun:.0f} s")
    stepper.begin()

    def step(batch: Batch) -> float:
        loss = stepper.gradients(batch, RATE)["loss"]
        stepper.update(RATE)
        return loss

    return step


class Theirs:
    """A step of open_clip's trainer. `prepare` is given each batch before its step is timed."""

    def __init__(self, work: Path, precision: str, spec: ImageSpec) -> None:
        clip = import_open_clip()
        self.model = clip.create_model(f"local-dir:{work / 'open_clip'}").train()
        self.loss_of = clip.ClipLoss()
        self.precision, self.spec = precision, spec
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
                {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": 0.2},
            ],
            lr=RATE,
            betas=(0.9, 0.98),
            eps=1e-6,
        )

    def prepare(self, batch: Batch) -> None:
        self.images = self.spec.normalise(batch.images)
        self.texts = F.pad(batch.tokens.ids, (0, CONTEXT - batch.tokens.ids.shape[1]))

    def __call__(self, batch: Batch) -> float:
        self.optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            image, text, scale = self.model(self.images, self.texts)
            loss = self.loss_of(image, text, scale)
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, math.log(100))
        return float(loss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "sightword-training-step")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.precision == "bf16" and half_precision(torch.device("cpu")) is None:
        parser.error("this CPU has no instructions for bf16")
    make_b32(given.work)
    _, contract, _ = load_folder(given.work / "open_clip")
    peer = Theirs(given.work, given.precision, contract.image)
    sides: dict[str, Callable[[Batch], float]] = {"sightword": ours(given.work, given.precision), "open_clip": peer}
    batches = make_batches(given.steps, given.batch)
    if given.compile:
        sides["sightword, compiled"] = ours(given.work, given.precision, batches[0])
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    losses: dict[str, list[float]] = {side: [] for side in sides}
    for batch in batches:
        peer.prepare(batch)
        for side, step in sides.items():
            begun = time.perf_counter()
            losses[side].append(step(batch))
            seconds[side].append(time.perf_counter() - begun)
        line = (f"{side} {losses[side][-1]:.6f} in {seconds[side][-1]:.2f} s" for side in sides)
        print(f"{len(losses['sightword']):3}", *line, flush=True)
    for side in sides:
        print(f"{side}: {given.batch / statistics.median(seconds[side][1:]):.2f} images/s")
    ratios: dict[str, list[float]] = {}
    for side in sides.keys() - {"open_clip"}:
        pairs = zip(seconds[side][1:], seconds["open_clip"][1:], strict=True)
        ratios[side] = sorted(their_seconds / our_seconds for our_seconds, their_seconds in pairs)
        apart = max(abs(one - other) for one, other in zip(losses[side], losses["open_clip"], strict=True))
        times = f"{statistics.median(ratios[side]):.2f} times ({ratios[side][0]:.2f} to {ratios[side][-1]:.2f})"
        print(f"{side}, {given.precision}: {times}; losses apart by {apart:.1e}")
    if given.json:
        result = {"seconds": seconds, "losses": losses, "ratios": ratios}
        given.json.write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

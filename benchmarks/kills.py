"""kill -9 at random moments of a small run, and the same command again: the same weights to the bit, the same log.

    .venv/bin/python benchmarks/kills.py [--kills 20] [--seed 0]

A run of a few seconds on drawn pairs (validation, average of the weights, snapshots every few steps, two of them kept).
First it runs undisturbed. Then, for each kill, a new run is killed after a random time, anywhere from its start to its
end, and gone on with by the same command with another number of `data.workers`. Its final weights must equal the
undisturbed ones bit by bit, and its log must hold the same steps with the same losses, each once. Anything else fails.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from sightword.cli import run as command
from sightword.training.log import read_log

_RECIPE = """
title = "to be killed"
[data]
source = "pairs"
path = "PATH"
validation = 0.1
workers = 2
[augment]
crop = [0.8, 1.0]
[model]
embed_dim = 32
[model.image]
kind = "vit"
image_size = 16
patch = 8
width = 32
layers = 1
heads = 2
[model.text]
kind = "transformer"
vocabulary = 300
width = 32
layers = 1
heads = 2
[training]
steps = STEPS
batch_size = 16
lr = 3e-3
warmup = 5
ema = 0.9
keep = "best"
every = 20
snapshot_every = 7
"""
# What differs between two runs of one recipe: times, memory, and what is told of the folder and of its sittings.
_OF_THE_SITTING = {"images_per_s", "waiting", "memory_mib", "minutes"}


def prepare(folder: Path, steps: int) -> Path:
    """Pairs and a recipe; gives its path."""
    rng = np.random.default_rng(0)
    (folder / "pairs").mkdir()
    for number in range(60):
        colour = rng.integers(0, 256, 3)
        pixels = np.clip(colour + rng.integers(-20, 20, (20, 20, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "pairs" / f"{number:02}.png")
        (folder / "pairs" / f"{number:02}.txt").write_text(f"the colour {colour[0] // 64} {colour[1] // 64}")
    (folder / "pairs" / "59.png").write_bytes(b"damaged")
    recipe = folder / "recipe.toml"
    recipe.write_text(_RECIPE.replace("PATH", str(folder / "pairs")).replace("STEPS", str(steps)))
    return recipe


def train(recipe: Path, out: Path, workers: int, kill_after: float | None = None) -> tuple[bool, float]:
    """`sightword train` in a process of its own, which finds everything imported. Whether it was killed, and its
    seconds."""
    process = multiprocessing.get_context("fork").Process(target=_train, args=(recipe, out, workers))
    begun = time.perf_counter()
    process.start()
    process.join(kill_after)
    killed = process.is_alive()
    if killed:
        os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    if not killed and process.exitcode != 0:
        raise SystemExit(f"{out}: the run ended with {process.exitcode}")
    return killed, time.perf_counter() - begun


def _train(recipe: Path, out: Path, workers: int) -> None:
    torch.set_num_threads(1)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
    os._exit(command(["train", str(recipe), "--out", str(out), "--set", f"data.workers={workers}", "--device", "cpu"]))


def outcome(out: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """The final weights, and what the log says of the run, without what says when and where it was."""
    events = [
        {key: value for key, value in event.items() if key not in _OF_THE_SITTING}
        for event in read_log(out / "log.jsonl")
        if event["event"] not in ("start", "memory")
    ]
    return load_file(out / "model" / "model.safetensors"), events


def same(one: tuple[Any, Any], other: tuple[Any, Any]) -> bool:
    (weights, events), (others, other_events) = one, other
    equal = weights.keys() == others.keys() and all(torch.equal(weights[name], others[name]) for name in weights)
    return equal and events == other_events


def kill(kills: int, seed: int, steps: int, folder: Path) -> int:
    """Kill `kills` runs. Gives how many ended otherwise than the undisturbed one; prints a line each."""
    moments = random.Random(seed)
    recipe = prepare(folder, steps)
    _, seconds = train(recipe, folder / "whole", 2)
    expected = outcome(folder / "whole")
    print(f"undisturbed: {seconds:.2f} s, {len(expected[1])} events", flush=True)
    wrong = 0
    for number in range(kills):
        killed, out = False, folder / f"killed-{number}"
        while not killed:
            out = folder / f"killed-{number}-{moments.randrange(2**32):08x}"
            killed, after = train(recipe, out, 2, moments.uniform(0, seconds))
            if not killed:  # a machine that was busy before is faster now
                seconds = min(seconds, after)
        reached = max((event.get("step", 0) for event in read_log(out / "log.jsonl")), default=0)
        left = sorted(path.name for path in out.rglob(".*")) if out.exists() else []
        finished = "finished" if (out / "model").is_dir() else f"in step {reached} or soon after"
        train(recipe, out, number % 3)
        right = same(outcome(out), expected)
        wrong += not right
        print(
            f"killed after {after:.3f} s, {finished}, left {left}: {'the same' if right else 'DIFFERENT'}", flush=True
        )
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)  # before processes are forked
    with tempfile.TemporaryDirectory() as folder:
        wrong = kill(options.kills, options.seed, options.steps, Path(folder))
    print(f"{options.kills - wrong} of {options.kills} runs ended with the same weights and the same log")
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

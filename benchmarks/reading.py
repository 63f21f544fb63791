"""What a sample of a recipe costs to read: CPU time of one thread, with pictures that stay in memory and without.

    .venv/bin/python benchmarks/reading.py [RECIPE …] [--samples 4000] [--rounds 5] [--epochs 20]

The same samples each round: from the file (or from memory) to the augmented picture and its text; then whole batches,
with the tokens. CPU time of the thread, so that neighbours on the machine do little; least and median of the rounds.
Then the resident memory after each of `--epochs` epochs with pictures that stay.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from memory import resident

from sightword.data.images import ImageSpec
from sightword.data.loader import Loader
from sightword.data.tokenizer import train_tokenizer
from sightword.training.data import read_data, training_texts
from sightword.training.recipe import read_recipe

RECIPES = [Path("recipes/scratch.toml"), Path("recipes/quickstart.toml")]


def loader_of(path: Path) -> Loader:
    recipe = read_recipe(path)
    source = read_data(recipe.data).train
    pixels, image = recipe.pixels, recipe.model.image
    assert pixels is not None
    assert image.image_size is not None
    texts = training_texts(source, recipe.data.templates, recipe.data.first_text < 1)
    return Loader(
        source,
        train_tokenizer(texts, 1500, 32),
        ImageSpec(size=image.image_size, resize=pixels.resize, interpolation=pixels.interpolation),
        recipe.augment,
        recipe.training.batch_size,
        recipe.seed,
        recipe.data.templates,
        recipe.data.first_text,
        workers=0,
    )


def milliseconds(run: Callable[[], object], samples: int) -> float:
    begun = time.thread_time()
    run()
    return 1000 * (time.thread_time() - begun) / samples


def measure(path: Path, samples: int, rounds: int, epochs: int) -> None:
    plain = loader_of(path)
    kept = replace(plain)
    size = kept.keep_pictures(1 << 30)
    batches = samples // plain.batch_size
    samples = batches * plain.batch_size
    timed: dict[str, Callable[[], object]] = {
        "sample, read": lambda: [*map(plain.sample, range(samples))],
        "sample, kept": lambda: [*map(kept.sample, range(samples))],
        "in batches, read": lambda: [None for _ in islice(plain.batches(), batches)],
        "in batches, kept": lambda: [None for _ in islice(kept.batches(), batches)],
    }
    for run in timed.values():
        run()
    found = [{name: milliseconds(run, samples) for name, run in timed.items()} for _ in range(rounds)]
    print(f"\n{path}: {samples} samples at {plain.spec.size} px, {size / 2**20:.0f} MiB expected to be kept")
    for name in timed:
        times = sorted(of_round[name] for of_round in found)
        print(f"{name:18} {times[0]:.3f} ms least, {statistics.median(times):.3f} median", flush=True)
    if epochs:
        resident_mib = []
        for batch_number, _ in enumerate(kept.batches(), start=1):
            if batch_number * kept.batch_size >= len(kept.source) * (len(resident_mib) + 1):
                resident_mib.append(resident())
                if len(resident_mib) == epochs:
                    break
        assert kept.kept is not None
        print(f"{len(kept.kept):,} pictures, {kept.kept.size / 2**20:.0f} MiB kept; resident MiB after each epoch:")
        print(" ".join(f"{mib:.0f}" for mib in resident_mib), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("recipes", type=Path, nargs="*", default=RECIPES)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for path in given.recipes:
        measure(path, given.samples, given.rounds, given.epochs)


if __name__ == "__main__":
    main()

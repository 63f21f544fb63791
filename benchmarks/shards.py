"""Shards to batches, decoded, cropped and tokenized, against webdataset as open_clip 3.3.0 uses it.

    make peers
    .venv/bin/python benchmarks/shards.py [--pairs 2048] [--rounds 3] [--sizes 340x256 640x480]
                                          [--work DIR] [--json FILE]

The same shards (`sightword data pack` of photographs.py, JPEG of quality 90, captions of ImageNet's names in its
templates) for both sides, batches of 64 at 224 px with random crops of 0.9 to 1 of the area, OpenAI's vocabulary,
normalised float batches in the end. open_clip's side is its own `get_wds_dataset` with its own training transform and
tokenizer, in 1 and 2 persistent worker processes; its best is what counts. Ours is the `Loader` with 1, 2 and 3
threads; its best is what counts. A round is one epoch of each side, in turns; ratios are made within a round. Before,
each side runs an epoch that is not counted. Ours decodes a JPEG at a half of its size where the crop still has all the
pixels that are needed (640 x 480), and whole where it has not (340 x 256, which is img2dataset's usual size).
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from peers import import_open_clip
from photographs import make_photographs

from sightword.checkpoints.tokens import make_tokenizer, read_tokenizer
from sightword.checkpoints.vocabulary import split_as_openai
from sightword.data.augment import Augment
from sightword.data.images import ImageSpec
from sightword.data.loader import Loader
from sightword.data.pack import pack
from sightword.data.sources import open_pairs
from sightword.data.tokenizer import Tokenizer

BATCH, SIZE, PROCESSES, THREADS = 64, 224, (1, 2), (1, 2, 3)


def make_shards(clip: ModuleType, work: Path, pairs: int, size: tuple[int, int]) -> Path:
    """Eight shards. Those that are there already are left as they are."""
    name = f"{size[0]}x{size[1]}-{pairs}"
    shards = work / f"shards-{name}"
    if not shards.exists():
        files = make_photographs(work / f"pictures-{name}", pairs, *size)
        names, templates = clip.IMAGENET_CLASSNAMES, clip.OPENAI_IMAGENET_TEMPLATES
        for number, file in enumerate(files):
            text = templates[number % len(templates)](names[number % len(names)])
            file.with_suffix(".txt").write_text(text, encoding="utf-8")
        pack(str(work / f"pictures-{name}"), shards, pairs=-(-pairs // 8))
    return shards


def openai_tokenizer(clip: ModuleType, work: Path) -> Tokenizer:
    vocabulary = Path(clip.tokenizer.default_bpe())
    shutil.copy(vocabulary, work / vocabulary.name)
    engine, special = read_tokenizer(work)
    split_as_openai(engine, lower=True)
    return make_tokenizer(engine, special, 77, 0, "ftfy_lower")


class OpenClip:
    def __init__(self, clip: ModuleType, shards: Path, pairs: int, workers: int) -> None:
        from open_clip_train.data import get_wds_dataset

        mean, std = clip.OPENAI_DATASET_MEAN, clip.OPENAI_DATASET_STD
        transform = clip.image_transform(SIZE, is_train=True, mean=mean, std=std)
        given = Namespace(
            train_data=f"{shards}/{{00000..00007}}.tar",
            train_num_samples=pairs,
            train_data_upsampling_factors=None,
            dataset_resampled=False,
            seed=0,
            batch_size=BATCH,
            workers=workers,
            world_size=1,
        )
        self.data = get_wds_dataset(given, transform, is_train=True, tokenizer=clip.get_tokenizer("ViT-B-32"))
        self.epoch = 0

    def __call__(self) -> int:
        """One epoch; how many samples it had."""
        self.data.set_epoch(self.epoch)
        self.epoch += 1
        count = 0
        for images, texts in self.data.dataloader:
            assert images.shape[1:] == (3, SIZE, SIZE)
            assert images.dtype == torch.float32
            assert texts.shape[1:] == (77,)
            count += len(images)
        return count


class Ours:
    def __init__(self, tokenizer: Tokenizer, shards: Path, pairs: int, workers: int) -> None:
        spec = ImageSpec(size=SIZE)
        augment = Augment(crop=(0.9, 1.0), aspect=4 / 3)
        source = open_pairs(str(shards))
        assert len(source) == pairs
        self.loader = Loader(source, tokenizer, spec, augment, BATCH, seed=0, workers=workers)
        self.steps, self.batches = pairs // BATCH, self.loader.batches()

    def __call__(self) -> int:
        count = 0
        for batch in islice(self.batches, self.steps):
            images = self.loader.spec.normalise(batch.images)
            assert images.shape[1:] == (3, SIZE, SIZE)
            assert images.dtype == torch.float32
            assert not batch.skipped
            count += len(images)
        return count


def measure(sides: dict[str, Callable[[], int]], rounds: int) -> list[dict[str, float]]:
    """Samples a second of each side, in each round."""
    for run in sides.values():
        run()
    found = []
    for number in range(rounds):
        rates: dict[str, float] = {}
        for name, run in sides.items():
            begun = time.perf_counter()
            count = run()
            rates[name] = count / (time.perf_counter() - begun)
        found.append(rates)
        print(f"round {number + 1}: " + " · ".join(f"{name} {rate:.0f}" for name, rate in rates.items()), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", default=["340x256", "640x480"])
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "sightword-shards")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.pairs % (8 * BATCH):
        parser.error(f"--pairs: a multiple of {8 * BATCH}, so that both sides have the same batches")

    clip = import_open_clip()
    given.work.mkdir(parents=True, exist_ok=True)
    tokenizer = openai_tokenizer(clip, given.work)
    result: dict[str, Any] = {"pairs": given.pairs, "machine": platform.processor(), "sizes": {}}
    for size in given.sizes:
        width, height = map(int, size.split("x"))
        shards = make_shards(clip, given.work, given.pairs, (width, height))
        kilobytes = sum(path.stat().st_size for path in shards.glob("*.tar")) / given.pairs / 1000
        print(f"\n{size}, {kilobytes:.0f} kB a pair")
        theirs = {f"open_clip, {n} processes": OpenClip(clip, shards, given.pairs, n) for n in PROCESSES}
        ours = {f"sightword, {n} threads": Ours(tokenizer, shards, given.pairs, n) for n in THREADS}
        rounds = measure({**theirs, **ours}, given.rounds)
        for name in rounds[0]:
            rates = sorted(rates[name] for rates in rounds)
            print(f"{name:24} {statistics.median(rates):6.0f} samples/s ({rates[0]:.0f} to {rates[-1]:.0f})")
        ratios = sorted(max(r[name] for name in ours) / max(r[name] for name in theirs) for r in rounds)
        print(f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
        result["sizes"][size] = {"rounds": rounds, "ratios": ratios}
        for side in ours.values():
            side.batches.close()
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

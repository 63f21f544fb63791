"""A folder of JPEGs to vectors, ViT-B/32, end to end, against open_clip 3.3.0 on the same weights.

    make peers
    .venv/bin/python benchmarks/jpeg_folder.py [--pictures 600] [--rounds 3] [--work DIR] [--json FILE]

600 pictures of 1600 x 1200 (photographs.py), random weights of the full size. open_clip with its own transform in a torch
DataLoader of 0, 1 and 2 workers, batches of 64, fp32 under inference_mode; its best is what counts. Ours is
`embed_images` in fp32 and in bf16. All sides take turns within a round, ratios are made within a round; a first round of
64 pictures warms up and is not counted. `model` is the towers alone on pixels in memory, `decode` reading and preparing
alone. The cosine is to open_clip's vectors, of the same picture; for comparison stands the mean cosine of different ones.
"""

from __future__ import annotations

import argparse
import json
import os
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
from sightword.embedding.images import read_batches
from sightword.model import Model

BATCH, COSINE = 64, 0.999


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
def peer(model: Any, transform: Any, files: Sequence[Path], workers: int) -> np.ndarray[Any, Any]:
    parts = [model.encode_image(batch, normalize=True) for batch in loader(files, transform, workers)]
    return torch.cat(parts).numpy()


@torch.inference_mode()
def peer_model(model: Any, count: int) -> None:
    batch = torch.randn(BATCH, 3, 224, 224)
    for _ in range(count // BATCH):
        model.encode_image(batch, normalize=True)


def ours_decode(model: Model, files: Sequence[Path]) -> None:
    for _ in model.read_images(files, BATCH):
        pass


def ours_model(model: Model, count: int) -> None:
    pixels = torch.randint(0, 256, (BATCH, 224, 224, 3), dtype=torch.uint8)
    for _ in range(count // BATCH):
        model.embed_pixels(pixels)

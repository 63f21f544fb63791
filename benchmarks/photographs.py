"""Pictures that cost what photographs cost: contrast at every scale, edges, grain; some 250 kB for a megapixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_TEXTURES = 8


def make_photographs(folder: Path, count: int, width: int = 1600, height: int = 1200) -> list[Path]:
    """`count` JPEGs of quality 90 in `folder`. Those that are there already are left as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:05}.jpg" for number in range(count)]
    missing = [number for number, file in enumerate(files) if not file.exists()]
    textures = [_texture(np.random.default_rng(seed), width, height) for seed in range(_TEXTURES if missing else 0)]
    for number in missing:
        _scene(np.random.default_rng(1000 + number), textures).save(files[number], quality=90)
    return files


def _texture(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    """Noise of all scales, each octave with 0.85 times the contrast of the one before, mostly grey."""
    total = np.zeros((height, width, 3), np.float32)
    cells, contrast = 3, 1.0
    while cells < max(width, height):
        noise = rng.standard_normal((max(2, cells * height // width), cells, 3)).astype(np.float32)
        noise = 0.3 * noise + 1.5 * noise.mean(axis=2, keepdims=True)
        for band in range(3):
            layer = Image.fromarray(noise[:, :, band]).resize((width, height), Image.Resampling.BICUBIC)
            total[:, :, band] += contrast * np.asarray(layer)
        cells, contrast = 2 * cells, 0.85 * contrast
    return total / total.std()


def _scene(rng: np.random.Generator, textures: list[NDArray[np.float32]]) -> Image.Image:
    """Things of many sizes before one another, each with a colour and a part of a texture."""
    height, width, _ = textures[0].shape

    def paint(part: NDArray[np.float32]) -> Image.Image:
        colour = rng.uniform(40, 200) + rng.normal(0, 25, 3)
        return Image.fromarray(np.clip(part * rng.uniform(8, 40) + colour, 0, 255).astype(np.uint8))

    ground = textures[rng.integers(len(textures))]
    scene = paint(np.roll(ground, tuple(rng.integers(0, (height, width))), axis=(0, 1)))
    for _ in range(60):
        radius = int(np.clip(0.03 * height * (1 + rng.pareto(1.2)), 6, 0.45 * height))
        side = 2 * radius
        mask = Image.new("L", (side, side))
        angles, reach = np.sort(rng.uniform(0, 2 * np.pi, 5)), radius * rng.uniform(0.5, 1, 5)
        if rng.random() < 0.5:
            ImageDraw.Draw(mask).ellipse((0, 0, side - 1, side - 1), fill=255)
        else:
            corners = zip(radius + reach * np.cos(angles), radius + reach * np.sin(angles), strict=True)
            ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in corners], fill=255)
        x, y = rng.integers(0, (width - side, height - side))
        part = textures[rng.integers(len(textures))][y : y + side, x : x + side]
        at = rng.integers(-radius, (width - radius, height - radius))
        scene.paste(paint(part), (int(at[0]), int(at[1])), mask)
    grain = rng.normal(0, 2, (height, width, 1))
    return Image.fromarray(np.clip(np.asarray(scene) + grain, 0, 255).astype(np.uint8))

"""What things stand before: patterns drawn from a few numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightword.data.scenes.colours import COLOURS, sample

_Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Background:
    """pattern: one of PATTERNS. words: of its colours. colours: as many, RGB. seed: of everything else about it."""

    pattern: str
    words: tuple[str, ...]
    colours: tuple[_Colour, ...]
    seed: int

    @property
    def word(self) -> str:
        """`plain blue`, `red and white stripes`."""
        colours = " and ".join(dict.fromkeys(self.words))
        return f"{self.pattern} {colours}" if self.pattern == "plain" else f"{colours} {self.pattern}"

    def render(self, size: int) -> Image.Image:
        """RGB, `size` pixels a side."""
        rng = np.random.Generator(np.random.Philox(key=self.seed))
        first = np.array(self.colours[0], np.float32)
        last = np.array(self.colours[-1], np.float32)
        share = PATTERNS[self.pattern](size, rng)  # of the last colour, [H, W] or a number
        if isinstance(share, float):
            return Image.new("RGB", (size, size), self.colours[0])
        levels = first + share[..., None] * (last - first)
        return Image.fromarray(np.clip(levels + 0.5, 0, 255).astype(np.uint8))


def draw_background(rng: np.random.Generator) -> Background:
    pattern = str(rng.choice(_NAMES))
    count = 1 if pattern in ONE_COLOUR else 2
    words = [COLOURS[place] for place in rng.choice(len(COLOURS), count, replace=False)]
    colours = [sample(word, rng) for word in words]
    if pattern in ONE_COLOUR - {"plain"}:
        # Light and shade of one colour.
        shade = rng.uniform(0.7, 0.9) if sum(colours[0]) > 200 else 1.5
        red, green, blue = (min(255, round(level * shade) + 12 * (shade > 1)) for level in colours[0])
        colours.append((red, green, blue))
    return Background(pattern, tuple(words), tuple(colours), int(rng.integers(1 << 62)))


_Share = NDArray[np.float32]


def _grid(size: int) -> tuple[_Share, _Share]:
    """Rows and columns from 0 to 1."""
    line: _Share = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    return line[:, None], line[None]


def _along(size: int, rng: np.random.Generator) -> _Share:
    """The way along a random direction, from the middle of the picture."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = _grid(size)
    return np.float32(np.cos(angle)) * (x - 0.5) + np.float32(np.sin(angle)) * (y - 0.5)


def _smooth(size: int, cells: int, rng: np.random.Generator) -> _Share:
    """Noise from 0 to 1, smooth between `cells` values a side."""
    values = rng.random((cells, cells), np.float32)
    return np.clip(np.asarray(Image.fromarray(values).resize((size, size), Image.Resampling.BICUBIC)), 0, 1)


def _plain(size: int, rng: np.random.Generator) -> float:
    return 0.0


def _gradient(size: int, rng: np.random.Generator) -> _Share:
    return np.clip(_along(size, rng) + 0.5, 0, 1)


def _stripes(size: int, rng: np.random.Generator) -> _Share:
    width = rng.uniform(0.05, 0.16)
    return _hard(np.sin(_along(size, rng) * np.float32(np.pi / width)), size, width)


def _checks(size: int, rng: np.random.Generator) -> _Share:
    width = rng.uniform(0.06, 0.16)
    angle = rng.choice((0.0, np.pi / 4))
    y, x = _grid(size)
    one = np.cos(angle) * x + np.sin(angle) * y
    other = np.cos(angle) * y - np.sin(angle) * x
    return _hard(np.sin(one * np.pi / width) * np.sin(other * np.pi / width), size, width)


def _dots(size: int, rng: np.random.Generator) -> _Share:
    width = rng.uniform(0.08, 0.18)
    y, x = _grid(size)
    away = np.hypot((x / width) % 1 - 0.5, (y / width) % 1 - 0.5)
    return np.clip((np.float32(rng.uniform(0.22, 0.36)) - away) * size * width + 0.5, 0, 1)


def _clouds(size: int, rng: np.random.Generator) -> _Share:
    """Noise of several scales."""
    shares = [_smooth(size, cells, rng) / (step + 1) for step, cells in enumerate((3, 6, 12, 24))]
    return np.clip((sum(shares, np.float32(0)) - 0.75) / 0.6, 0, 1).astype(np.float32)


def _grain(size: int, rng: np.random.Generator) -> _Share:
    return 0.6 * _smooth(size, max(2, size // 3), rng) + 0.4 * _smooth(size, 5, rng)


def _blobs(size: int, rng: np.random.Generator) -> _Share:
    return np.clip((_smooth(size, int(rng.integers(4, 8)), rng) - 0.5) * 6 + 0.5, 0, 1)


def _hills(size: int, rng: np.random.Generator) -> _Share:
    """A wavy line, with one colour above it and the other below."""
    y, x = _grid(size)
    line = rng.uniform(0.35, 0.7) + rng.uniform(0.02, 0.08) * np.sin(x * rng.uniform(4, 12) + rng.uniform(0, 6))
    return np.clip((y - line) * size + 0.5, 0, 1).astype(np.float32)


def _hard(wave: NDArray[Any], size: int, width: float) -> _Share:
    """1 where a wave is positive, 0 where it is negative, and a pixel between the two."""
    return np.clip(wave * size * width / np.pi + 0.5, 0, 1).astype(np.float32)


PATTERNS: Mapping[str, Callable[[int, np.random.Generator], _Share | float]] = {
    "plain": _plain,
    "gradient": _gradient,
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
    "clouds": _clouds,
    "grain": _grain,
    "blobs": _blobs,
    "hills": _hills,
}
_NAMES = tuple(PATTERNS)
ONE_COLOUR = frozenset({"plain", "clouds", "grain"})

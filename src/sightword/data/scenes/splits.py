"""Which names, drawings and combinations each split of the scenes may show. Hashes decide, so that no split ever moves.

train, validation       seen names in the styles of training; they differ in their pictures
unseen-styles           seen names in styles that training never meets
unseen-names            names that training never meets, in every style
unseen-combinations     as train, but each scene shows something that no other split does: two names together, a name in
                        a size, or a name in a colour
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from typing import Literal, Protocol, TypeAlias, get_args

from sightword.data.emoji import is_unseen
from sightword.data.scenes.colours import HUES
from sightword.data.scenes.sprites import Sprites
from sightword.errors import RequestError

Split: TypeAlias = Literal["train", "validation", "unseen-styles", "unseen-names", "unseen-combinations"]
SPLITS: tuple[Split, ...] = get_args(Split)
SIZES = ("small", "medium", "large")
_COLOURS = tuple(HUES)


class Named(Protocol):
    """What it is asked of: a Thing."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> str: ...

    @property
    def colour(self) -> str: ...


def sprites_of(sprites: Sprites, split: Split) -> dict[str, list[int]]:
    """The names of a split, sorted, with the places of their drawings. Raises RequestError for a split that is unknown
    or that these sprites cannot fill."""
    if split not in SPLITS:
        raise RequestError(f"scenes have no split {split!r}; there are: {', '.join(SPLITS)}")
    if split == "unseen-styles" and not sprites.unseen_styles:
        raise RequestError(f"{sprites.name}: its sprites are all of one style, and none is kept from training")
    found: dict[str, list[int]] = {}
    for place, sprite in enumerate(sprites):
        unseen_style = sprite.style in sprites.unseen_styles
        if is_unseen(sprite.name) == (split == "unseen-names") and (
            split == "unseen-names" or unseen_style == (split == "unseen-styles")
        ):
            found.setdefault(sprite.name, []).append(place)
    if len(found) < 2:
        raise RequestError(
            f"{sprites.name}: {len(found)} of its names are of the split {split!r}, and a split needs two (a hash "
            "decides; more sprites of other names are needed)"
        )
    return dict(sorted(found.items()))


@lru_cache(1 << 20)
def is_held_out_pair(one: str, other: str) -> bool:
    """Whether two names stand together in no scene of the other splits: one pair in ten."""
    return one != other and _number("pair", *sorted((one, other))) % 10 == 0


@lru_cache(1 << 14)
def held_out_size(name: str) -> str:
    """The size that a name never has in the other splits; "" for seven names in ten."""
    return _pick("size", name, SIZES, 10)


@lru_cache(1 << 14)
def held_out_colour(name: str) -> str:
    """The colour that a name never has in the other splits; "" for two names in three."""
    return _pick("colour", name, _COLOURS, 3 * len(_COLOURS))


def held_out(things: Sequence[Named]) -> list[tuple[str, str]]:
    """The combinations of a scene that no scene of another split shows: two names, or a name and its size or colour."""
    names = sorted({thing.name for thing in things})
    pairs = [pair for pair in combinations(names, 2) if is_held_out_pair(*pair)]
    sizes = [(one.name, one.size) for one in things if one.size and one.size == held_out_size(one.name)]
    colours = [(thing.name, thing.colour) for thing in things if thing.colour == held_out_colour(thing.name)]
    return [*dict.fromkeys((*pairs, *sizes, *colours))]


def _pick(kind: str, name: str, words: Sequence[str], of: int) -> str:
    place = _number(kind, name) % of
    return words[place] if place < len(words) else ""


def _number(*words: str) -> int:
    return int.from_bytes(hashlib.sha1("\0".join(words).encode()).digest()[:8], "big")

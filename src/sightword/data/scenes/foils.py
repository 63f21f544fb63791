"""Names of what is not there, drawn so that no text tells them from names of what is.

A name that is there is drawn at random, and then another of its kind (or its group) at random; where the two do not
suit, both are drawn anew. Names are drawn uniformly for scenes, too, so (one, other) comes as often as (other, one):
what is there, and what is not, is seen from the picture only.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sightword.data.scenes.claims import Facts
from sightword.data.scenes.nouns import differ
from sightword.data.scenes.scene import Scenes
from sightword.data.scenes.splits import is_held_out_pair, sprites_of

_KIND = 0.75  # how often the other is of the same kind, and not just of the same group
_TRIES = 40


class Foil(NamedTuple):
    """A name that is there, and one that is not and could be taken for it."""

    present: str
    absent: str


class Foils:
    """Of the names of a split."""

    def __init__(self, scenes: Scenes) -> None:
        self.free = scenes.split == "unseen-combinations"  # it may tell what the others may not
        self._near: dict[str, tuple[list[str], list[str]]] = {}
        lists: dict[tuple[str, ...], list[str]] = {}
        for name, (first, *_) in sprites_of(scenes.sprites, scenes.split).items():
            sprite = scenes.sprites[first]
            near = lists.setdefault((sprite.group, sprite.kind), []), lists.setdefault((sprite.group,), [])
            for names in near:
                names.append(name)
            self._near[name] = near

    def draw(self, facts: Facts, rng: np.random.Generator, besides: Collection[str] = ()) -> Foil | None:
        """besides: other names of the text, from which both must differ. None where nothing suits."""
        present = [name for name in facts.counts if name not in besides]
        for _ in range(_TRIES if present else 0):
            name = present[int(rng.integers(len(present)))]
            near = self._near[name][rng.random() >= _KIND]
            other = near[int(rng.integers(len(near)))]
            told = {*facts.counts, *besides}
            others = {*told, facts.scene.background} - {name}
            if (
                other not in told
                and differ(name, other)
                and all(differ(one, there) for one in (name, other) for there in others)
                and (self.free or not any(is_held_out_pair(other, there) for there in told))
            ):
                return Foil(name, other)
        return None


@lru_cache(8)
def foils_of(scenes: Scenes) -> Foils:
    return Foils(scenes)

"""What is true of a scene beyond its things: how they stand to each other, what hides what, how many there are.

Each word is exact on the masks or boxes, and what is arguable has no word.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sightword.data.scenes.scene import Scene, Thing

Word: TypeAlias = Literal["left of", "right of", "above", "below", "in front of", "behind", "inside"]


@dataclass(frozen=True, slots=True)
class Relation:
    """things[subject] is `word` things[object]."""

    subject: int
    word: Word
    object: int


def relations(scene: Scene) -> list[Relation]:
    """All that holds between two things.

    left of, right of, above, below: the boxes share no column (no row). in front of, behind: at some pixel of
    the other, the one is seen instead. inside: the box of a thing in front lies within the other's.
    """
    hides = hidden_by(scene)
    found: list[Relation] = []
    for one, thing in enumerate(scene.things):
        left, top, right, bottom = thing.box
        for other, there in enumerate(scene.things):
            if one == other:
                continue
            their_left, their_top, their_right, their_bottom = there.box
            words: dict[Word, bool] = {
                "left of": right <= their_left,
                "right of": left >= their_right,
                "above": bottom <= their_top,
                "below": top >= their_bottom,
                "in front of": hides[one, other] > 0,
                "behind": hides[other, one] > 0,
                "inside": one > other
                and their_left <= left
                and their_top <= top
                and right <= their_right
                and bottom <= their_bottom,
            }
            found += [Relation(one, word, other) for word, holds in words.items() if holds]
    return found


def hidden_by(scene: Scene) -> NDArray[np.int64]:
    """int64 [T, T]: at [i, j], how many pixels of things[j] are seen as things[i] instead."""
    seen = scene.instances()
    count = len(scene.things)
    found = np.zeros((count, count), np.int64)
    for number, placed in enumerate(scene.placed):
        rows, columns, mask = placed.window(placed.drawn(scene.sprites), scene.size)
        over = np.bincount(seen[rows, columns][mask], minlength=count + 1)[1:]
        over[number] = 0
        found[:, number] = over
    return found


def places(thing: Thing, size: int) -> tuple[str, ...]:
    """In which part of a picture of so many pixels a side its whole box lies.

    left, right, top, bottom: in that half. middle: it holds the picture's centre, and its own is at most a tenth of
    the side away from it, both across and down.
    """
    left, top, right, bottom = thing.box
    across, down = abs(left + right - size) / 2, abs(top + bottom - size) / 2
    holds = {
        "left": 2 * right <= size,
        "right": 2 * left >= size,
        "top": 2 * bottom <= size,
        "bottom": 2 * top >= size,
        "middle": left < size / 2 < right and top < size / 2 < bottom and max(across, down) <= size / 10,
    }
    return tuple(word for word, true in holds.items() if true)


def counts(scene: Scene) -> dict[str, int]:
    """How many things there are of each name, in the order in which they come."""
    return dict(Counter(thing.name for thing in scene.things))


def group_counts(scene: Scene) -> dict[str, int]:
    """How many things there are of each group."""
    return dict(Counter(thing.group for thing in scene.things))

"""Edits and motions in words: which thing is meant, and several ways of saying what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sightword.data.scenes.captions import Slots, described, phrase, said
from sightword.data.scenes.claims import Which
from sightword.data.scenes.colours import COLOURS, MIXED
from sightword.data.scenes.grammar import scene_grammar
from sightword.data.scenes.nouns import Phrase, names_one
from sightword.data.scenes.scene import Thing

PHRASINGS = 4  # of an instruction, at most
_TRIES = 12


def phrasings(rule: str, slots: Slots, rng: np.random.Generator) -> tuple[str, ...]:
    """Different ways of saying it."""
    forms = (scene_grammar().draw(rule, rng) for _ in range(_TRIES))
    return tuple(dict.fromkeys(said(form, slots) for form in forms))[:PHRASINGS]


def the(things: Sequence[Thing], place: int, rng: np.random.Generator) -> Phrase | None:
    """`dog`, `red dog`, `small dog`: the fewest words that mean this one of the things and no other; None where none
    do."""
    thing = things[place]
    colour = "" if thing.colour == MIXED or names_one(COLOURS, thing.name) else thing.colour
    others = [other for number, other in enumerate(things) if number != place]
    for which in (
        Which(thing.name, *words) for words in (("", ""), (colour, ""), ("", thing.size), (colour, thing.size))
    ):
        if not any(_could_be(other, which) for other in others):
            return phrase(which, rng)
    return None


def a(thing: Thing, rng: np.random.Generator) -> Phrase:
    """With some of its colour and size."""
    return phrase(described(thing, rng), rng)


def _could_be(thing: Thing, which: Which) -> bool:
    """A guide dog is a dog, and a multicoloured thing may well be called by any of its colours."""
    return (
        {*which.name.lower().split()} <= {*thing.name.lower().split()}
        and which.colour in ("", thing.colour if thing.colour != MIXED else which.colour)
        and which.size in ("", thing.size)
    )

"""Questions about a scene, of which the answers are balanced: the question alone does not tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from sightword.data.scenes.backgrounds import PATTERNS
from sightword.data.scenes.captions import Slots, said, word
from sightword.data.scenes.claims import Claim, Facts, Which
from sightword.data.scenes.colours import HUES
from sightword.data.scenes.foils import Foils
from sightword.data.scenes.grammar import scene_grammar
from sightword.data.scenes.nouns import NUMBERS, Phrase, countable, plural, sentence
from sightword.data.scenes.splits import SIZES
from sightword.data.scenes.twins import related, sized_things, tinted_thing

Asks: TypeAlias = Literal[
    "there", "relation", "colour", "either colour", "larger", "which", "how many", "total", "where", "pattern"
]
YES_NO = ("yes", "no")
QUARTERS = ("top left", "top right", "bottom left", "bottom right")
_COUNTS = ("none", *NUMBERS[1:])


@dataclass(frozen=True, slots=True)
class Question:
    """answers: among which the answer is. claim: what the answer says; denied where that is `no`."""

    asks: Asks
    text: str
    answer: str
    answers: tuple[str, ...]
    claim: Claim


def questions(facts: Facts, foils: Foils, rng: np.random.Generator) -> Iterator[Question]:
    """One of each sort that the scene allows."""
    for make in (_there, _relation, _colour, _larger, _which, _how_many, _total, _where, _pattern):
        yield from make(facts, foils, rng)


def _asked(rule: str, slots: Slots, rng: np.random.Generator) -> str:
    return sentence(said(scene_grammar().draw(f"ask {rule}", rng), slots))


def _thing(name: str) -> Phrase:
    return Phrase(countable(name))


def _there(facts: Facts, foils: Foils, rng: np.random.Generator) -> Iterator[Question]:
    foil = foils.draw(facts, rng)
    if foil:
        absent = bool(rng.integers(2))
        name = foil[absent]
        claim = Claim("there", Which(name), denied=absent)
        yield Question("there", _asked("there", {"x": _thing(name)}, rng), YES_NO[absent], YES_NO, claim)


def _relation(facts: Facts, foils: Foils, rng: np.random.Generator) -> Iterator[Question]:
    found = related(facts, rng)
    if found:
        one, holds, other = found
        turned = bool(rng.integers(2))
        first, second = (other, one) if turned else (one, other)
        slots: Slots = {"x": _thing(first.name), "y": _thing(second.name), "relation": word("relation", holds, rng)}
        claim = Claim("relation", Which(first.name), word=holds, other=Which(second.name), denied=turned)
        yield Question("relation", _asked("relation", slots, rng), YES_NO[turned], YES_NO, claim)


def _colour(facts: Facts, foils: Foils, rng: np.random.Generator) -> Iterator[Question]:
    found = tinted_thing(facts, foils, rng)
    if found:
        thing, other = found
        claim = Claim("there", Which(thing.name, colour=thing.colour))
        x = _thing(thing.name)
        yield Question("colour", _asked("colour", {"x": x}, rng), thing.colour, tuple(HUES), claim)
        a, b = _either(thing.colour, other, rng)
        asked = _asked("either colour", {"x": x, "a": a, "b": b}, rng)
        yield Question("either colour", asked, thing.colour, (a, b), claim)


def _larger(facts: Facts, foils: Foils, rng: np.random.Generator) -> Iterator[Question]:
    found = sized_things(facts, foils, rng)
    if found:
        small, large = sorted(found, key=lambda thing: SIZES.index(thing.size))
        a, b = _either(large.name, small.name, rng)
        claim = Claim("there", Which(large.name, size=large.size))
        asked = _asked("larger", {"x": _thing(a), "y": _thing(b)}, rng)
        yield Question("larger", asked, large.name, (a, b), claim)


def _which(facts: Facts, foils: Foils, rng: np.random.Generator) -> Iterator[Question]:
    found = related(facts, rng)
    if found:
        one, holds, other = found
        a, b = _either(one.name, other.name, rng)
        slots: Slots = {"x": _thing(a), "y": _thing(b), "relation": word("relation", holds, rng)}
        claim = Claim("relation", Which(one.name), word=holds, other=Which(other.name))
        yield Question("which", _asked("which", slots, rng), one.name, (a, b), claim)


def _how_many(facts: Facts, foils: Foils, rng: np.random.Generator) -> Iterator[Question]:
    """Of two and more where there are, else of none or one by a coin: about a third each."""
    several = [name for name, count in facts.counts.items() if count > 1]
    if several:
        name = several[int(rng.integers(len(several)))]
    else:
        foil = foils.draw(facts, rng)
        if not foil:
            return
        name = foil[int(rng.integers(2))]
    count = facts.counts[name]
    if count < len(_COUNTS):
        asked = _asked("how many", {"many": plural(countable(name))}, rng)
        yield Question("how many", asked, _COUNTS[count], _COUNTS, Claim("count", Which(name), count))


def _total(facts: Facts, foils: Foils, rng: np.random.Generator) -> Iterator[Question]:
    count = len(facts.scene.things)
    if count < len(_COUNTS):
        yield Question("total", _asked("total", {}, rng), _COUNTS[count], _COUNTS[1:], Claim("count", number=count))


def _where(facts: Facts, foils: Foils, rng: np.random.Generator) -> Iterator[Question]:
    found = [(thing, places) for thing in facts.single() if len(places := facts.places(thing)) == 2]
    if found:
        thing, (across, down) = found[int(rng.integers(len(found)))]
        asked = _asked("where", {"x": _thing(thing.name)}, rng)
        claim = Claim("there", Which(thing.name, places=(across, down)))
        yield Question("where", asked, f"{down} {across}", QUARTERS, claim)


def _pattern(facts: Facts, foils: Foils, rng: np.random.Generator) -> Iterator[Question]:
    ground = facts.scene.ground
    claim = Claim("background", word=ground.word)
    yield Question("pattern", _asked("pattern", {}, rng), ground.pattern, tuple(PATTERNS), claim)


def _either(one: str, other: str, rng: np.random.Generator) -> tuple[str, str]:
    return (one, other) if rng.integers(2) else (other, one)

"""Two captions that differ in one place, of which one is true. Each change is as likely the other way round, so that
only the picture tells which of the two it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import numpy as np

from sightword.data.scenes.backgrounds import ONE_COLOUR, PATTERNS, Background
from sightword.data.scenes.captions import RELATIONS, Caption, Slots, many, phrase, related_things, said, word
from sightword.data.scenes.claims import Claim, Facts, Which
from sightword.data.scenes.colours import COLOURS, HUES
from sightword.data.scenes.foils import Foils
from sightword.data.scenes.grammar import scene_grammar
from sightword.data.scenes.nouns import Phrase, countable, names_one, sentence
from sightword.data.scenes.scene import Thing
from sightword.data.scenes.splits import SIZES, held_out_colour, held_out_size
from sightword.data.scenes.truth import Word

Change: TypeAlias = Literal["name", "negation", "colour", "size", "place", "relation", "count", "background"]
CHANGES: tuple[Change, ...] = get_args(Change)
_MIRROR = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}


@dataclass(frozen=True, slots=True)
class Twins:
    """change: of what."""

    change: Change
    true: Caption
    false: Caption


def twins(facts: Facts, foils: Foils, rng: np.random.Generator) -> Iterator[Twins]:
    """One of each change that the scene allows."""
    for change, make in _MAKERS:
        found = make(facts, foils, rng)
        if found:
            rule, (slots, claims), (their_slots, their_claims) = found
            form, other = (scene_grammar().draw(one, rng) for one in rule)
            ends = rng.random() < 0.5
            texts = said(form, slots), said(form if rule[0] == rule[1] else other, their_slots)
            true, false = (sentence(text) if ends else text for text in texts)
            yield Twins(change, Caption(true, claims), Caption(false, their_claims))


_Side: TypeAlias = tuple[Slots, tuple[Claim, ...]]
_Made: TypeAlias = tuple[tuple[str, str], _Side, _Side] | None


def _name(facts: Facts, foils: Foils, rng: np.random.Generator) -> _Made:
    foil = foils.draw(facts, rng)
    if not foil:
        return None
    true, false = (({"x": Phrase(countable(name))}, (Claim("there", Which(name)),)) for name in foil)
    return ("twin thing",) * 2, true, false


def _negation(facts: Facts, foils: Foils, rng: np.random.Generator) -> _Made:
    foil = foils.draw(facts, rng)
    if not foil:
        return None
    absent = bool(rng.integers(2))
    name = foil[absent]
    slots: Slots = {"x": Phrase(countable(name))}
    said_so, denied = ((Claim("there", Which(name), denied=deny),) for deny in (False, True))
    if absent:
        return ("deny alone", "affirm alone"), (slots, denied), (slots, said_so)
    return ("affirm alone", "deny alone"), (slots, said_so), (slots, denied)


def tinted_thing(facts: Facts, foils: Foils, rng: np.random.Generator) -> tuple[Thing, str] | None:
    """A thing whose hue was drawn, and another that might have been: of what has its own colour, the name tells."""
    scene = facts.scene
    found = [
        (thing, placed.sprite)
        for thing, placed in zip(scene.things, scene.placed, strict=True)
        if placed.tint and facts.counts[thing.name] == 1 and not names_one(COLOURS, thing.name)
    ]
    if not found:
        return None
    thing, sprite = found[int(rng.integers(len(found)))]
    others = [
        hue
        for hue in HUES
        if hue != thing.colour
        and (foils.free or hue != held_out_colour(thing.name))
        and scene.sprites.colour(sprite, hue) == hue
    ]
    return (thing, others[int(rng.integers(len(others)))]) if others else None


def _colour(facts: Facts, foils: Foils, rng: np.random.Generator) -> _Made:
    found = tinted_thing(facts, foils, rng)
    if not found:
        return None
    thing, other = found

    def side(colour: str) -> _Side:
        which = Which(thing.name, colour=colour)
        return {"x": phrase(which, rng)}, (Claim("there", which),)

    true, false = side(thing.colour), side(other)
    return ("twin thing",) * 2, true, false


def sized_things(facts: Facts, foils: Foils, rng: np.random.Generator) -> tuple[Thing, Thing] | None:
    """Two things of different sizes, of which each might have the other's."""
    single = [thing for thing in facts.single() if not names_one(SIZES, thing.name)]
    found = [
        (one, other)
        for one in single
        for other in single
        if one.size != other.size
        and (foils.free or (one.size != held_out_size(other.name) and other.size != held_out_size(one.name)))
    ]
    return found[int(rng.integers(len(found)))] if found else None


def _size(facts: Facts, foils: Foils, rng: np.random.Generator) -> _Made:
    found = sized_things(facts, foils, rng)
    if not found:
        return None
    one, other = found
    words = {size: word("size", size, rng) for size in (one.size, other.size)}

    def side(first: str, second: str) -> _Side:
        phrases = [f"{words[size]} {countable(thing.name)}" for thing, size in ((one, first), (other, second))]
        claims = Claim("there", Which(one.name, size=first)), Claim("there", Which(other.name, size=second))
        return {"many": str(Phrase(phrases[0])), "others": str(Phrase(phrases[1]))}, claims

    return ("twin pair",) * 2, side(one.size, other.size), side(other.size, one.size)


def _place(facts: Facts, foils: Foils, rng: np.random.Generator) -> _Made:
    found = [thing for thing in facts.single() if set(facts.places(thing)) & _MIRROR.keys()]
    if not found:
        return None
    thing = found[int(rng.integers(len(found)))]
    places = facts.places(thing)
    turned = int(rng.integers(len(places)))
    mirrored = tuple(_MIRROR[place] if number == turned else place for number, place in enumerate(places))
    seed = int(rng.integers(1 << 62))  # of the words for both places, which are drawn from lists of one length

    def side(where: tuple[str, ...]) -> _Side:
        place = word("place", " ".join(where), np.random.default_rng(seed))
        claim = Claim("there", Which(thing.name, places=where))
        return {"x": Phrase(countable(thing.name)), "place": place}, (claim,)

    true, false = side(places), side(mirrored)
    return ("twin place",) * 2, true, false


def related(facts: Facts, rng: np.random.Generator) -> tuple[Thing, Word, Thing] | None:
    """Two things and a relation that is drawn first, so that no word is rarer for being told of."""
    found = related_things(facts)
    holding = [holds for holds in RELATIONS if any(one[1] == holds for one in found)]
    if not holding:
        return None
    holds = holding[int(rng.integers(len(holding)))]
    among = [one for one in found if one[1] == holds]
    return among[int(rng.integers(len(among)))]


def _relation(facts: Facts, foils: Foils, rng: np.random.Generator) -> _Made:
    found = related(facts, rng)
    if not found:
        return None
    one, holds, other = found
    relation = word("relation", holds, rng)

    def side(first: str, second: str) -> _Side:
        claim = Claim("relation", Which(first), word=holds, other=Which(second))
        return {"x": Phrase(countable(first)), "y": Phrase(countable(second)), "relation": relation}, (claim,)

    true, false = side(one.name, other.name), side(other.name, one.name)
    return ("twin relation",) * 2, true, false


def _count(facts: Facts, foils: Foils, rng: np.random.Generator) -> _Made:
    counts = facts.counts
    found = [(one, other) for one in counts for other in counts if counts[one] != counts[other]]
    if not found:
        return None
    one, other = found[int(rng.integers(len(found)))]
    true, false = (
        (
            {"many": many(one, first), "others": many(other, second)},
            (Claim("count", Which(one), first), Claim("count", Which(other), second)),
        )
        for first, second in ((counts[one], counts[other]), (counts[other], counts[one]))
    )
    return ("twin pair",) * 2, true, false


def _background(facts: Facts, foils: Foils, rng: np.random.Generator) -> _Made:
    ground = facts.scene.ground
    changed = _other_colour(ground, rng) if rng.random() < 0.5 else _other_pattern(ground, rng)
    true, false = (({"ground": said}, (Claim("background", word=said),)) for said in (ground.word, changed.word))
    return ("twin ground",) * 2, true, false


def _other_colour(ground: Background, rng: np.random.Generator) -> Background:
    others = [colour for colour in COLOURS if colour not in ground.words]
    turned = int(rng.integers(len(ground.words)))
    other = others[int(rng.integers(len(others)))]
    return replace(ground, words=tuple(other if at == turned else old for at, old in enumerate(ground.words)))


def _other_pattern(ground: Background, rng: np.random.Generator) -> Background:
    others = [
        pattern
        for pattern in PATTERNS
        if pattern != ground.pattern and (pattern in ONE_COLOUR) == (ground.pattern in ONE_COLOUR)
    ]
    return replace(ground, pattern=others[int(rng.integers(len(others)))])


_MAKERS = tuple(zip(CHANGES, (_name, _negation, _colour, _size, _place, _relation, _count, _background), strict=True))

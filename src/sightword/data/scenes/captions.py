"""Captions of scenes: short ones, and long ones that tell nearly all that is known. Each comes with what it claims."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from sightword.data.scenes.claims import Claim, Facts, Which
from sightword.data.scenes.colours import COLOURS, MIXED
from sightword.data.scenes.grammar import scene_grammar
from sightword.data.scenes.nouns import Phrase, countable, differ, joined, names_one, number, plural, sentence, words_in
from sightword.data.scenes.scene import Thing
from sightword.data.scenes.splits import SIZES
from sightword.data.scenes.truth import Word

SHORT, LONG = (5, 15), (60, 200)  # words
RELATIONS: tuple[Word, ...] = ("left of", "right of", "above", "below", "in front of", "behind")
PLACES = ("left", "right", "top", "bottom", "middle")
Slots: TypeAlias = Mapping[str, Phrase | str]
_Listed: TypeAlias = tuple[str, tuple[Claim, ...]]
_TRIES = 50
_COLOUR, _MIXED, _SIZE, _SENTENCE = 0.6, 0.2, 0.4, 0.5  # how often a short caption tells of them
_LISTED = 8  # things that a long caption describes in its list


@dataclass(frozen=True, slots=True)
class Caption:
    """A text and all that it claims."""

    text: str
    claims: tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """What is to be said: a rule of the grammar, what its slots hold, and the claims."""

    rule: str
    slots: Slots
    claims: tuple[Claim, ...]

    def text(self, rng: np.random.Generator) -> str:
        return said(scene_grammar().draw(self.rule, rng), self.slots)


def said(form: str, slots: Slots) -> str:
    return form.format_map(slots)


def word(kind: str, what: str, rng: np.random.Generator) -> str:
    """One of the words for a size, a relation or places."""
    return scene_grammar().draw(f"{kind} {what}", rng)


def phrase(which: Which, rng: np.random.Generator) -> Phrase:
    """`little red cat`."""
    size = word("size", which.size, rng) if which.size else ""
    colour = word("colour", which.colour, rng) if which.colour == MIXED else which.colour
    return Phrase(" ".join(part for part in (size, colour, countable(which.name)) if part))


def described(thing: Thing, rng: np.random.Generator, all_of_it: bool = False) -> Which:
    """A thing by its name, and some of its colour and size."""
    colour, size = rng.random(2)
    tells = colour < (_MIXED if thing.colour == MIXED else _COLOUR) or all_of_it
    return Which(
        thing.name,
        colour=thing.colour if tells and not names_one(COLOURS, thing.name) else "",
        size=thing.size if (size < _SIZE or all_of_it) and not names_one(SIZES, thing.name) else "",
    )


def listed(facts: Facts, names: Sequence[str], rng: np.random.Generator, plain: bool = False) -> _Listed:
    """`a red cat, two dogs and a small car`, with its claims; plain: nothing but names and numbers."""
    texts, claims = [], []
    for name in names:
        count = facts.counts[name]
        if count > 1:
            texts.append(many(name, count))
            claims.append(Claim("count", Which(name), count))
        else:
            thing = next(thing for thing in facts.scene.things if thing.name == name)
            which = Which(name) if plain else described(thing, rng)
            texts.append(str(phrase(which, rng)))
            claims.append(Claim("there", which))
    last = scene_grammar().draw("and", rng) if len(texts) == 2 else "and"
    return joined(texts, last), tuple(claims)


def many(name: str, count: int) -> str:
    """`two cats`, `one cat`."""
    return f"{number(count)} {countable(name) if count == 1 else plural(countable(name))}"


def picked(things: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """So many of them at most, in any order."""
    return [things[place] for place in rng.permutation(len(things))[:count].tolist()]


def ground(facts: Facts) -> tuple[dict[str, str], Claim]:
    background = facts.scene.background
    return {"ground": background}, Claim("background", word=background)


def short_caption(facts: Facts, rng: np.random.Generator) -> Caption:
    """Of 5 to 15 words, where names are no longer than ten."""
    slots, behind = ground(facts)
    best: Caption | None = None
    for _ in range(_TRIES):
        plan = _short(facts, rng)
        form = scene_grammar().draw(plan.rule, rng)
        text = said(form, {**plan.slots, **slots})
        claims = (*plan.claims, behind) if "{ground}" in form else plan.claims
        length = words_in(text)
        if SHORT[0] <= length <= SHORT[1]:
            return Caption(sentence(text) if rng.random() < _SENTENCE else text, claims)
        if best is None or abs(length - SHORT[1]) < abs(words_in(best.text) - SHORT[1]):
            best = Caption(text, claims)
    assert best is not None
    return best


def _short(facts: Facts, rng: np.random.Generator) -> Piece:
    plans = list(_short_plans(facts, rng))
    if plans and rng.random() < 0.5:
        return plans[int(rng.integers(len(plans)))]
    things, claims = listed(facts, picked(list(facts.counts), int(rng.integers(1, 4)), rng), rng)
    return Piece("short things", {"things": things}, claims)


def _short_plans(facts: Facts, rng: np.random.Generator) -> Iterator[Piece]:
    related = related_things(facts)
    if related:
        one, holds, other = related[int(rng.integers(len(related)))]
        ours, theirs = described(one, rng), described(other, rng)
        slots: Slots = {"x": phrase(ours, rng), "y": phrase(theirs, rng), "relation": word("relation", holds, rng)}
        yield Piece("short relation", slots, (Claim("relation", ours, word=holds, other=theirs),))
    thing = facts.scene.things[int(rng.integers(len(facts.scene.things)))]
    where = facts.places(thing)
    if where:
        which = described(thing, rng)
        placed: Slots = {"x": phrase(which, rng), "place": word("place", " ".join(where), rng)}
        yield Piece("short place", placed, (_there(which, where),))
    several = [name for name, count in facts.counts.items() if count > 1]
    if several:
        name = several[int(rng.integers(len(several)))]
        count = facts.counts[name]
        yield Piece("short count", {"many": many(name, count)}, (Claim("count", Which(name), count),))


def _there(which: Which, where: tuple[str, ...]) -> Claim:
    return Claim("there", Which(which.name, which.colour, which.size, where))


def related_things(facts: Facts) -> list[tuple[Thing, Word, Thing]]:
    """Between things that are the only ones of their names."""
    things, single = facts.scene.things, {thing.name for thing in facts.single()}
    return [
        (things[one.subject], one.word, things[one.object])
        for one in facts.relations
        if one.word in RELATIONS and {things[one.subject].name, things[one.object].name} <= single
    ]


def long_caption(facts: Facts, rng: np.random.Generator) -> Caption:
    """Of 60 to 200 words: all things with their colours and sizes, the background, and of places, relations, numbers
    and what is absent one sentence each, as far as there is room; and as many more of these as chance asks for."""
    wanted = int(rng.integers(LONG[0], LONG[1] + 1))
    count = len(facts.scene.things)
    things, claims = listed(facts, picked(list(facts.counts), len(facts.counts), rng), rng, plain=count > _LISTED)
    opening = {"things": things, "number": f"{number(count)} thing{'s' * (count > 1)}"}
    pieces = [Piece("long opening", opening, (*claims, Claim("count", number=count)))]
    slots, behind = ground(facts)
    firsts, rests = _more(facts, rng)
    must = [*_things(facts, rng), Piece("long ground", slots, (behind,)), *firsts]
    texts = [pieces[0].text(rng)]
    for place, piece in enumerate([*must, *rests]):
        length = words_in(" ".join(texts))
        text = piece.text(rng)
        if length + words_in(text) <= (LONG[1] if place < len(must) else wanted):
            texts.append(text)
            pieces.append(piece)
    while words_in(" ".join(texts)) < LONG[0]:
        # A bare scene: some of it is said again in other words.
        again = pieces[int(rng.integers(len(pieces)))]
        texts.append(again.text(rng))
        pieces.append(again)
    order = [0, *(1 + rng.permutation(len(texts) - 1)).tolist()]
    return Caption(
        " ".join(sentence(texts[place]) for place in order),
        tuple(dict.fromkeys(claim for place in order for claim in pieces[place].claims)),
    )


def _things(facts: Facts, rng: np.random.Generator) -> Iterator[Piece]:
    for place in rng.permutation(len(facts.scene.things)).tolist():
        thing = facts.scene.things[place]
        which = described(thing, rng, all_of_it=True)
        looks = [word("size", which.size, rng)] if which.size else []
        if which.colour:
            looks.append(word("colour", which.colour, rng) if which.colour == MIXED else which.colour)
        if not looks:
            continue
        name = countable(thing.name)
        slots: Slots = {"x": Phrase(name), "looks": joined(picked(looks, 2, rng))}
        if facts.counts[thing.name] > 1:
            yield Piece("long thing of many", {**slots, "many": plural(name)}, (Claim("there", which),))
        else:
            yield Piece("long thing", slots, (Claim("there", which),))


def _more(facts: Facts, rng: np.random.Generator) -> tuple[list[Piece], list[Piece]]:
    """What else is true: one of each kind, and the rest, in any order."""
    kinds = [list(kind(facts, rng)) for kind in (_wheres, _related, _counted, _grouped, _absent, _nothing)]
    shuffled = [[kind[place] for place in rng.permutation(len(kind)).tolist()] for kind in kinds if kind]
    firsts, rests = [kind[0] for kind in shuffled], [piece for kind in shuffled for piece in kind[1:]]
    first, rest = (rng.permutation(len(pieces)).tolist() for pieces in (firsts, rests))
    return [firsts[place] for place in first], [rests[place] for place in rest]


def _wheres(facts: Facts, rng: np.random.Generator) -> Iterator[Piece]:
    for thing in facts.single():
        where = facts.places(thing)
        if where:
            slots: Slots = {"x": Phrase(countable(thing.name)), "place": word("place", " ".join(where), rng)}
            yield Piece("long where", slots, (_there(Which(thing.name), where),))


def _related(facts: Facts, rng: np.random.Generator) -> Iterator[Piece]:
    for one, holds, other in related_things(facts):
        slots: Slots = {
            "x": Phrase(countable(one.name)),
            "y": Phrase(countable(other.name)),
            "relation": word("relation", holds, rng),
        }
        yield Piece("long relation", slots, (Claim("relation", Which(one.name), word=holds, other=Which(other.name)),))


def _counted(facts: Facts, rng: np.random.Generator) -> Iterator[Piece]:
    for name, count in facts.counts.items():
        if count > 1:
            yield Piece("long count", {"many": many(name, count)}, (Claim("count", Which(name), count),))


def _grouped(facts: Facts, rng: np.random.Generator) -> Iterator[Piece]:
    groups = [thing.group for thing in facts.scene.things]
    for group in dict.fromkeys(groups):
        count = groups.count(group)
        if len(facts.scene.things) > count > 1:
            claim = Claim("count", Which(group=group), count)
            yield Piece("long group", {"number": number(count), "group": group}, (claim,))


def _absent(facts: Facts, rng: np.random.Generator) -> Iterator[Piece]:
    for name in facts.scene.absent:
        if all(differ(name, said) for said in (*facts.counts, facts.scene.background)):
            denied = Claim("there", Which(name), denied=True)
            yield Piece("long absent", {"x": Phrase(countable(name))}, (denied,))


def _nothing(facts: Facts, rng: np.random.Generator) -> Iterator[Piece]:
    for size in SIZES:
        claim = Claim("there", Which(size=size), denied=True)
        if facts.holds(claim):
            yield Piece("long no size", {"size": word("size", size, rng)}, (claim,))
    for place in PLACES[:4]:
        claim = Claim("there", Which(places=(place,)), denied=True)
        if facts.holds(claim):
            yield Piece("long no place", {"place": word("place", place, rng)}, (claim,))

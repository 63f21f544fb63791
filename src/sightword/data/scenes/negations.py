"""Captions that deny something, and four options about two things, of which one is true."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from sightword.data.scenes.captions import Caption, listed, picked, said
from sightword.data.scenes.claims import Claim, Facts, Which
from sightword.data.scenes.foils import Foil, Foils
from sightword.data.scenes.grammar import scene_grammar
from sightword.data.scenes.nouns import Phrase, countable, sentence

Kind: TypeAlias = Literal["affirmation", "negation", "hybrid"]
_BESIDE = 3  # things that are told of along with what is denied, at most


@dataclass(frozen=True, slots=True)
class Negation:
    """Four captions that tell of the same things, and beside them affirm or deny what is there and what is not.

    present: what is there; affirmed is true, and denied_present false, with one word for another: presence negation.
    absent: what could be there and is not; denied_absent is true (absence negation), and affirmed_absent false. The
    two that deny have the same form, and so have the two that affirm: their words do not tell which is true.
    """

    present: str
    absent: str
    affirmed: Caption
    denied_present: Caption
    affirmed_absent: Caption
    denied_absent: Caption


@dataclass(frozen=True, slots=True)
class MultipleChoice:
    """options: `a cat and a dog`, `a cat but no dog`, `a dog but no cat`, `neither a cat nor a dog`, in any order, in
    one frame: each is true as often as any other. kinds: of each option. answer: the place of the true one. The two
    that affirm one and deny the other are hybrids."""

    options: tuple[Caption, ...]
    kinds: tuple[Kind, ...]
    answer: int

    @property
    def kind(self) -> Kind:
        """Of the true option."""
        return self.kinds[self.answer]


def negations(facts: Facts, foils: Foils, count: int, rng: np.random.Generator) -> Iterator[Negation]:
    """So many, of any of the scene's things; fewer where no foil suits."""
    for _ in range(count):
        foil = foils.draw(facts, rng)
        if foil:
            yield _negation(facts, foil, rng)


def _negation(facts: Facts, foil: Foil, rng: np.random.Generator) -> Negation:
    others = [name for name in facts.counts if name != foil.present]
    beside = picked(others, int(rng.integers(0, _BESIDE + 1)), rng)
    things, told = listed(facts, beside, rng) if beside else ("", ())
    where = "beside" if beside else "alone"
    forms = {deny: scene_grammar().draw(f"{'deny' if deny else 'affirm'} {where}", rng) for deny in (False, True)}
    ends = rng.random() < 0.5

    def caption(name: str, deny: bool) -> Caption:
        text = said(forms[deny], {"things": things, "x": Phrase(countable(name))})
        claims = (*told, Claim("there", Which(name), denied=deny))
        return Caption(sentence(text) if ends else text, claims)

    return Negation(
        foil.present,
        foil.absent,
        affirmed=caption(foil.present, False),
        denied_present=caption(foil.present, True),
        affirmed_absent=caption(foil.absent, False),
        denied_absent=caption(foil.absent, True),
    )


def multiple_choice(facts: Facts, foils: Foils, rng: np.random.Generator) -> MultipleChoice | None:
    """None for a scene of less than two names, of which not all four could be asked, and where no foils suit."""
    if len(facts.counts) < 2:
        return None
    one = foils.draw(facts, rng)
    # Of one pair of names and the other, each is there or not by a coin: so all four options are true equally often.
    other = one and foils.draw(facts, rng, besides=one)
    if not one or not other:
        return None
    names = [foil[int(rng.integers(2))] for foil in (one, other)]
    x, y = (Phrase(countable(name)) for name in names)
    grammar = scene_grammar()
    frame = grammar.draw("choice frame", rng)
    both, first, neither = (grammar.draw(f"choice {which}", rng) for which in ("both", "first", "neither"))
    ends = rng.random() < 0.5

    def option(form: str, x: Phrase, y: Phrase, denies: tuple[bool, bool]) -> Caption:
        text = said(frame, {"said": said(form, {"x": x, "y": y})})
        claims = (Claim("there", Which(name), denied=denied) for name, denied in zip(names, denies, strict=True))
        return Caption(sentence(text) if ends else text, tuple(claims))

    found: list[tuple[Kind, Caption]] = [
        ("affirmation", option(both, x, y, (False, False))),
        ("hybrid", option(first, x, y, (False, True))),
        ("hybrid", option(first, y, x, (True, False))),
        ("negation", option(neither, x, y, (True, True))),
    ]
    found = [found[place] for place in rng.permutation(len(found)).tolist()]
    answer = next(place for place, (_, caption) in enumerate(found) if facts.all_hold(caption.claims))
    return MultipleChoice(tuple(caption for _, caption in found), tuple(kind for kind, _ in found), answer)

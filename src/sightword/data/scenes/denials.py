"""Captions of scenes with their denials, for probes of text towers."""

from __future__ import annotations

from collections.abc import Iterator

from sightword.data.denials import Denial, Denials, OneDenied
from sightword.data.images import Made
from sightword.data.scenes.captions import said
from sightword.data.scenes.claims import Facts
from sightword.data.scenes.foils import foils_of
from sightword.data.scenes.grammar import scene_grammar
from sightword.data.scenes.nouns import Phrase, countable, sentence
from sightword.data.scenes.scene import Scenes
from sightword.data.scenes.texts import negations_of

_PAIRS = 4  # of names, of a scene
_RULE = "deny beside"


def scene_denials(scenes: Scenes, name: str, split: str) -> Denials:
    """Of each scene its three negations; and of four pairs of names two captions each, in the same words, which affirm
    one and deny the other. Raises RequestError where no scene has any."""
    images: list[Made] = []
    keys: list[str] = []
    denials: list[Denial] = []
    one_denied: list[OneDenied] = []
    for index in range(len(scenes)):
        scene = scenes[index]
        facts, place = Facts(scene), len(keys)
        found = [
            Denial(
                place,
                one.affirmed.text,
                one.denied_present.text,
                one.affirmed_absent.text,
                one.denied_absent.text,
                one.present,
                one.absent,
            )
            for one in negations_of(scenes, facts, index)
        ]
        if found:
            denials += found
            one_denied += _one_denied(scenes, facts, index, place)
            images.append(Made(scene.key, scene.image))
            keys.append(scene.key)
    return Denials(name, split, images, keys, denials, one_denied)


def _one_denied(scenes: Scenes, facts: Facts, index: int, place: int) -> Iterator[OneDenied]:
    foils, rng, grammar = foils_of(scenes), scenes.generator(index, "one denied"), scene_grammar()
    for _ in range(_PAIRS):
        one = foils.draw(facts, rng)
        other = one and foils.draw(facts, rng, besides=one)
        if not one or not other:
            return
        # Of names that are there and of those that are not by a coin, as in the choices; so, too, which stands first.
        names = [foil[int(rng.integers(2))] for foil in (one, other)]
        denied_first, ends = rng.random(2) < 0.5
        form = grammar.draw(_RULE, rng)
        while (form.index("{x") < form.index("{things")) != denied_first:
            form = grammar.draw(_RULE, rng)
        for affirmed, denied in (names, names[::-1]):
            text = said(form, {"things": str(Phrase(countable(affirmed))), "x": Phrase(countable(denied))})
            yield OneDenied(place, sentence(text) if ends else text, affirmed, denied)

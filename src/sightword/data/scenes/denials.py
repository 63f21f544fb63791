"""Captions of scenes with their denials, for probes of text towers."""

from __future__ import annotations

from collections.abc import Iterator

from sightword.data.denials import Denial, Denials, OneDenied
from sightword.data.images import Made
from sightword.data.scenes.claims import Facts
from sightword.data.scenes.foils import foils_of
from sightword.data.scenes.negations import multiple_choice
from sightword.data.scenes.scene import Scenes
from sightword.data.scenes.texts import negations_of

_CHOICES = 4  # of a scene, each of two names of its own


def scene_denials(scenes: Scenes, name: str, split: str) -> Denials:
    """Of each scene its three negations, and of four choices about two things the two options that affirm one of them
    and deny the other. Raises RequestError where no scene has any."""
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
    foils, rng = foils_of(scenes), scenes.generator(index, "one denied")
    for _ in range(_CHOICES):
        choice = multiple_choice(facts, foils, rng)
        for option, kind in zip(choice.options, choice.kinds, strict=True) if choice else ():
            if kind == "hybrid":
                names = {claim.denied: claim.what.name for claim in option.claims}
                yield OneDenied(place, option.text, affirmed=names[False], denied=names[True])

"""Whether a claim about a scene is so, by the pixels of each thing: nothing of sightword's truth is used."""

from __future__ import annotations

import numpy as np

from sightword.data.scenes import Claim, Scene, Which
from sightword.data.scenes.layout import paint


def is_so(claim: Claim, scene: Scene) -> bool:
    found = [number for number in range(len(scene.things)) if fits(scene, number, claim.what)]
    if claim.says == "there":
        true = bool(found)
    elif claim.says == "count":
        true = len(found) == claim.number
    elif claim.says == "background":
        words = [scene.ground.pattern, *dict.fromkeys(scene.ground.words), *(["and"] * (len(scene.ground.words) > 1))]
        true = sorted(claim.word.split()) == sorted(words)
    else:
        others = [number for number in range(len(scene.things)) if fits(scene, number, claim.other)]
        true = any(related(scene, one, claim.word, other) for one in found for other in others if one != other)
    return true != claim.denied


def all_so(claims: tuple[Claim, ...], scene: Scene) -> bool:
    return all(is_so(claim, scene) for claim in claims)


def fits(scene: Scene, number: int, which: Which) -> bool:
    thing = scene.things[number]
    asked = {"name": thing.name, "colour": thing.colour, "size": thing.size, "group": thing.group}
    if any(getattr(which, field) not in ("", value) for field, value in asked.items()):
        return False
    rows, columns = np.nonzero(alone(scene, number))
    half = scene.size / 2
    middle = [abs(line.min() + line.max() + 1 - scene.size) / 2 <= scene.size / 10 for line in (rows, columns)]
    holds = {
        "left": columns.max() < half,
        "right": columns.min() >= half,
        "top": rows.max() < half,
        "bottom": rows.min() >= half,
        "middle": all(middle) and columns.min() < half <= columns.max() and rows.min() < half <= rows.max(),
    }
    return all(holds[place] for place in which.places)


def related(scene: Scene, one: int, word: str, other: int) -> bool:
    ours, theirs, seen = alone(scene, one), alone(scene, other), scene.instances()
    (y, x), (their_y, their_x) = np.nonzero(ours), np.nonzero(theirs)
    both = ours & theirs
    return bool(
        {
            "left of": x.max() < their_x.min(),
            "right of": x.min() > their_x.max(),
            "above": y.max() < their_y.min(),
            "below": y.min() > their_y.max(),
            "in front of": (both & (seen == one + 1)).any(),
            "behind": (both & (seen == other + 1)).any(),
        }[word]
    )


def alone(scene: Scene, number: int) -> np.ndarray:
    return paint(scene.sprites, [scene.placed[number]], scene.size) == 1

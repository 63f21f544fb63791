"""All that is said of a scene."""

from __future__ import annotations

from dataclasses import dataclass

from sightword.data.scenes.captions import Caption, long_caption, short_caption
from sightword.data.scenes.claims import Facts
from sightword.data.scenes.scene import Scenes


@dataclass(frozen=True, slots=True)
class SceneTexts:
    """short: of 5 to 15 words. long: of 60 to 200."""

    short: Caption
    long: Caption


def texts_of(scenes: Scenes, index: int) -> SceneTexts:
    """The texts of a scene, drawn from the scenes' seed, split and index alone."""
    facts = Facts(scenes[index])
    rng = scenes.generator(index, "captions")
    return SceneTexts(short_caption(facts, rng), long_caption(facts, rng))

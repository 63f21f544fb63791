"""Scenes with their captions, as a source that training draws from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

from sightword.data.images import Made
from sightword.data.pairs import Companions, Pair, Skipped
from sightword.data.scenes.captions import long_caption, short_caption
from sightword.data.scenes.claims import Facts
from sightword.data.scenes.scene import Scene, Scenes
from sightword.data.scenes.texts import choices_of, negations_of, twins_of

Told: TypeAlias = Literal["short", "long", "negation"]
_Texts: TypeAlias = tuple[tuple[str, ...], Companions]

# Negations and questions of a scene. Of three and one, seen again in every epoch, a text tower learns the answers by
# heart: 98 to 100 % of the training's questions right, and 66 to 75 % of others (docs/lab-notes.md).
_TELLINGS = 6
_AFFIRMED = 3  # of its own texts, so that one of these is not drawn for each long caption and each name


class ScenePairs:
    """A Source. told: what comes with each picture. `short`: one short caption. `long`: a long one as its companion.
    With all three the names of its things, as companions `tags`.
    `negation`: after the short one, further captions that deny nothing, so that what a run holds on to is not short
    captions alone: the long one, the name of one of the things, and three that affirm something. As companions six
    that deny what is there, six that deny what is not, the six of each in the same words; and false ones of other
    names, colours, places; and six questions of four options about two things, as their `mcq`.

    What was told of a scene is remembered: it costs more to make than the scene.
    """

    skipped: Sequence[Skipped] = ()
    blocks = None

    def __init__(self, scenes: Scenes, told: Told) -> None:
        self.scenes, self.told = scenes, told
        self._texts: dict[int, _Texts] = {}

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int, /) -> Pair:
        key = self.scenes.key(index)
        if index not in self._texts:
            scene = self.scenes[index]
            self._texts[index] = self._of(scene, index)
            image = Made(key, scene.image)
        else:
            image = Made(key, lambda: self.scenes[index].image())
        texts, companions = self._texts[index]
        return Pair(image, texts, key, companions=companions)

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))

    @property
    def fingerprint(self) -> bytes:
        scenes = self.scenes
        drawn = f"{scenes.split} {len(scenes)} {scenes.size} {scenes.seed} {scenes.things} {scenes.tint} {self.told}"
        return hashlib.sha256(scenes.sprites.fingerprint + drawn.encode()).digest()

    def keys(self) -> Iterator[str]:
        return (self.scenes.key(index) for index in range(len(self)))

    def expect(self, blocks: Sequence[int], held: int) -> None:
        """There are none."""

    def _of(self, scene: Scene, index: int) -> _Texts:
        facts, rng = Facts(scene), self.scenes.generator(index, "captions")
        short = short_caption(facts, rng).text
        names = names_of(scene)
        if self.told == "short":
            return (short,), Companions(tags=names)
        long = long_caption(facts, rng).text
        if self.told == "long":
            return (short,), Companions(long=(long,), tags=names)
        name = names[int(rng.integers(len(names)))]
        companions = companions_of(self.scenes, facts, index)
        return (short, long, name, *companions.affirmed[:_AFFIRMED]), companions


def companions_of(scenes: Scenes, facts: Facts, index: int) -> Companions:
    """Of all kinds but long ones; facts: of the scene at `index`."""
    negations = negations_of(scenes, facts, index, _TELLINGS)
    twins = twins_of(scenes, facts, index)
    foils = [one.affirmed_absent.text for one in negations]
    questions = []
    for choice in choices_of(scenes, facts, index, _TELLINGS):
        options = [option.text for option in choice.options]
        options.insert(0, options.pop(choice.answer))
        questions.append(tuple(options))
    return Companions(
        denied=tuple(one.denied_present.text for one in negations),
        absent=tuple(one.denied_absent.text for one in negations),
        foils=(*foils, *(one.false.text for one in twins if one.change != "negation")),
        affirmed=tuple(one.affirmed.text for one in negations),
        tags=names_of(facts.scene),
        mcq=tuple(questions),
    )


def names_of(scene: Scene) -> tuple[str, ...]:
    """Of its things, each once."""
    return tuple(dict.fromkeys(thing.name for thing in scene.things))

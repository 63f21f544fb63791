"""All that is said of a scene."""

from __future__ import annotations

from dataclasses import dataclass

from sightword.data.scenes.captions import Caption, long_caption, short_caption
from sightword.data.scenes.claims import Facts
from sightword.data.scenes.foils import foils_of
from sightword.data.scenes.negations import MultipleChoice, Negation, multiple_choice, negations
from sightword.data.scenes.questions import Question, questions
from sightword.data.scenes.scene import Scenes
from sightword.data.scenes.twins import Twins, twins

_NEGATIONS = 3


@dataclass(frozen=True, slots=True)
class SceneTexts:
    """short: of 5 to 15 words. long: of 60 to 200. negations: three, each of a thing and in words of its own; none
    where no plausible name is absent. twins: one of each change that the scene allows. choice: None for a scene of one
    name. questions: one of each sort that the scene allows."""

    short: Caption
    long: Caption
    negations: tuple[Negation, ...]
    twins: tuple[Twins, ...]
    choice: MultipleChoice | None
    questions: tuple[Question, ...]


def texts_of(scenes: Scenes, index: int) -> SceneTexts:
    """The texts of a scene, drawn from the scenes' seed, split and index alone."""
    facts, foils = Facts(scenes[index]), foils_of(scenes)
    rng = scenes.generator(index, "captions")
    return SceneTexts(
        short_caption(facts, rng),
        long_caption(facts, rng),
        negations_of(scenes, facts, index),
        twins_of(scenes, facts, index),
        next(iter(choices_of(scenes, facts, index, 1)), None),
        tuple(questions(facts, foils, scenes.generator(index, "questions"))),
    )


def negations_of(scenes: Scenes, facts: Facts, index: int, count: int = _NEGATIONS) -> tuple[Negation, ...]:
    """Those of `texts_of`, and behind them, with a higher `count`, more of the kind; facts: of the scene."""
    return tuple(negations(facts, foils_of(scenes), count, scenes.generator(index, "negations")))


def choices_of(scenes: Scenes, facts: Facts, index: int, count: int) -> tuple[MultipleChoice, ...]:
    """The same, of the choice; none where the scene allows none."""
    foils, rng = foils_of(scenes), scenes.generator(index, "choices")
    drawn = (multiple_choice(facts, foils, rng) for _ in range(count))
    return tuple(choice for choice in drawn if choice)


def twins_of(scenes: Scenes, facts: Facts, index: int) -> tuple[Twins, ...]:
    """Those of `texts_of`."""
    return tuple(twins(facts, foils_of(scenes), scenes.generator(index, "twins")))

"""Scenes as a source: what is told of a picture is true of it, or false of it, as its kind says."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import pytest

from sightword.data.images import Made
from sightword.data.pairs import KINDS, Pair
from sightword.data.scenes import Caption, Facts, ScenePairs, Scenes, Sprites, texts_of
from sightword.data.scenes.pairs import companions_of
from sightword.data.scenes.texts import choices_of, negations_of

COUNT = 25


@pytest.fixture(scope="module")
def scenes(word_sprites: Sprites) -> Scenes:
    return Scenes(word_sprites, count=COUNT, size=48, seed=3, things=(1, 4), tint=0.5)


def captions(scenes: Scenes, index: int) -> dict[str, Caption]:
    """All that could have been told, by their texts."""
    texts, facts = texts_of(scenes, index), Facts(scenes[index])
    found: list[Caption] = [texts.short, texts.long]
    for one in negations_of(scenes, facts, index, 6):
        found += [one.affirmed, one.denied_present, one.affirmed_absent, one.denied_absent]
    for twins in texts.twins:
        found += [twins.true, twins.false]
    for choice in choices_of(scenes, facts, index, 6):
        found += choice.options
    return {caption.text: caption for caption in found}


def of(pair: Pair, kind: str) -> Sequence[str]:
    return getattr(pair.companions, kind) if pair.companions else ()


def test_no_text_is_of_the_wrong_kind(scenes: Scenes):
    counted = dict.fromkeys(KINDS, 0)
    for told in ("short", "long", "negation"):
        for index, pair in enumerate(ScenePairs(scenes, told)):
            facts, known = Facts(scenes[index]), captions(scenes, index)
            names = {thing.name for thing in scenes[index].things}
            own = [text for text in pair.texts if text not in names]
            assert len(pair.texts) - len(own) == (told == "negation")
            assert of(pair, "tags") == tuple(dict.fromkeys(thing.name for thing in scenes[index].things))
            true = [*own, *of(pair, "absent"), *of(pair, "long")]
            true += [options[0] for options in of(pair, "mcq")]
            false = [*of(pair, "denied"), *of(pair, "foils")]
            false += [text for options in of(pair, "mcq") for text in options[1:]]
            assert all(facts.all_hold(known[text].claims) for text in true)
            assert not any(facts.all_hold(known[text].claims) for text in false)
            for kind in KINDS:
                counted[kind] += len(of(pair, kind))
    assert min(counted.values()) >= COUNT


def test_what_comes_with_a_picture(scenes: Scenes):
    for index in range(COUNT):
        texts = texts_of(scenes, index)
        short, long, negation = (ScenePairs(scenes, told)[index] for told in ("short", "long", "negation"))
        assert short.texts == long.texts == (texts.short.text,) == negation.texts[:1]
        assert not any(of(short, kind) for kind in KINDS if kind != "tags")
        told = companions_of(scenes, Facts(scenes[index]), index)
        assert told == negation.companions
        assert told.tags == of(short, "tags")
        assert of(long, "long") == (texts.long.text,)
        # The texts of a scene that tests ask for come first, and more of their kind behind them.
        assert not texts.negations or len(told.denied) == len(told.absent) == len(told.affirmed) == 6
        for denied, absent, one in zip(told.denied, told.absent, texts.negations, strict=False):
            assert (denied, absent) == (one.denied_present.text, one.denied_absent.text)
        assert negation.texts[1] == texts.long.text
        assert len(negation.texts) == 3 + len(texts.negations)
        options = [option.text for option in texts.choice.options] if texts.choice else []
        assert len(told.mcq) == (6 if options else 0)
        assert sorted(chain(*told.mcq[:1])) == sorted(options)
        assert not texts.choice or told.mcq[0][0] == options[texts.choice.answer]
        assert len(set(told.mcq)) == len(told.mcq)


def test_the_second_look_sees_the_same(scenes: Scenes):
    source = ScenePairs(scenes, "negation")
    first, second = source[4], source[4]
    assert (first.texts, first.companions, first.key) == (second.texts, second.companions, second.key)
    assert isinstance(first.image, Made)
    assert isinstance(second.image, Made)
    np.testing.assert_array_equal(np.asarray(first.image.make()), np.asarray(second.image.make()))
    np.testing.assert_array_equal(np.asarray(first.image.make()), np.asarray(scenes[4].image()))


def test_other_scenes_or_texts_are_another_source(scenes: Scenes, word_sprites: Sprites):
    others = [
        ScenePairs(scenes, "short"),
        ScenePairs(scenes, "long"),
        ScenePairs(Scenes(word_sprites, count=COUNT, size=48, seed=4, things=(1, 4), tint=0.5), "short"),
        ScenePairs(Scenes(word_sprites, count=COUNT, size=48, seed=3, things=(1, 3), tint=0.5), "short"),
        ScenePairs(Scenes(word_sprites, count=COUNT, size=48, seed=3, things=(1, 4), tint=0.2), "short"),
    ]
    assert len({source.fingerprint for source in others}) == len(others)
    assert [*others[0].keys()] == [pair.key for pair in others[0]]

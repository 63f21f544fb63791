"""Where the picture decides, a probe that sees only texts is near chance. benchmarks/scenes_text_only.py is the same on
the emoji, at length."""

from __future__ import annotations

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from sightword.data.scenes import Scenes, SceneTexts, Sprites, texts_of

TRAIN, TEST = 800, 400
Pairs = list[tuple[str, str]]  # a true text and a false one


@pytest.fixture(scope="module")
def texts(word_sprites: Sprites) -> list[SceneTexts]:
    scenes = Scenes(word_sprites, count=TRAIN + TEST, size=48, seed=6, things=(2, 6), tint=0.5)
    return [texts_of(scenes, index) for index in range(len(scenes))]


def probe(train: list[str], labels: list[bool]) -> Pipeline:
    words = CountVectorizer(ngram_range=(1, 2), binary=True, token_pattern=r"[^\s.,;:?]+")
    return make_pipeline(words, LogisticRegression(C=0.1, max_iter=200)).fit(train, labels)


def right(train: Pairs, test: Pairs) -> float:
    """The share of pairs whose true text has the larger logit, after learning from other pairs."""
    found = probe([text for pair in train for text in pair], [True, False] * len(train))
    logits = found.decision_function([text for pair in test for text in pair]).reshape(-1, 2)
    return float(((logits[:, 0] > logits[:, 1]) + 0.5 * (logits[:, 0] == logits[:, 1])).mean())


def pairs(of: list[SceneTexts]) -> dict[str, Pairs]:
    found: dict[str, Pairs] = {}
    for texts in of:
        for one in texts.negations:
            found.setdefault("deny", []).append((one.denied_absent.text, one.denied_present.text))
            found.setdefault("affirm", []).append((one.affirmed.text, one.affirmed_absent.text))
        for twin in texts.twins:
            found.setdefault(twin.change, []).append((twin.true.text, twin.false.text))
    return found


def test_pairs_are_told_apart_by_the_picture_only(texts: list[SceneTexts]) -> None:
    train, test = pairs(texts[:TRAIN]), pairs(texts[TRAIN:])
    assert len(train) == 10
    for task in train:
        # Three standard deviations of a coin, and a little for names that come more often than others.
        room = 1.5 / len(test[task]) ** 0.5 + 0.02
        assert abs(right(train[task], test[task]) - 0.5) < room, task


def test_the_probe_would_find_a_cue(texts: list[SceneTexts]) -> None:
    """If every denial were false, as in some benchmarks, it would be right nearly always."""
    train, test = (
        [(one.affirmed.text, one.denied_present.text) for texts in of for one in texts.negations]
        for of in (texts[:TRAIN], texts[TRAIN:])
    )
    assert right(train, test) > 0.95


def test_four_options_are_told_apart_by_the_picture_only(texts: list[SceneTexts]) -> None:
    train, test = ([one.choice for one in of if one.choice] for of in (texts[:TRAIN], texts[TRAIN:]))
    found = probe(
        [option.text for one in train for option in one.options],
        [place == one.answer for one in train for place in range(4)],
    )
    logits = found.decision_function([option.text for one in test for option in one.options]).reshape(-1, 4)
    hits = sum(int(row.argmax()) == one.answer for row, one in zip(logits, test, strict=True))
    assert abs(hits / len(test) - 0.25) < 1.3 / len(test) ** 0.5 + 0.02


def test_yes_or_no_is_told_by_the_picture_only(texts: list[SceneTexts]) -> None:
    asked = [
        [
            (one.text, one.answer == "yes")
            for texts in of
            for one in texts.questions
            if one.asks in ("there", "relation")
        ]
        for of in (texts[:TRAIN], texts[TRAIN:])
    ]
    (train, labels), (test, answers) = ([list(column) for column in zip(*of, strict=True)] for of in asked)
    assert abs(probe(train, labels).score(test, answers) - 0.5) < 1.5 / len(test) ** 0.5 + 0.02

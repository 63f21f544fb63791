"""What a model that never sees a picture gets right on the texts of scenes: it should be near chance wherever the
picture has to decide.

    pip install scikit-learn 'sightword[emoji]'
    python benchmarks/scenes_text_only.py [--train 20000] [--test 5000] [--split validation] [--seed 0]
        [--sprites FOLDER] [--json FILE]

The probe is logistic regression on the words and pairs of words of a text (scikit-learn), learnt from the texts of
training scenes; its strength is chosen on a fifth of them. It is tested on scenes of another split. Texts that belong
together (the two that deny, twins, four options) are told apart by the larger logit. Questions are answered by a
classifier of answers; where the question names two answers, by which is named first. Intervals are Wilson's, 95 %. The
share of the most frequent answer is that among the test's. One negation a scene is tested. Tokens that are unseen in
training are dropped.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from sightword.data.scenes import Scenes, SceneTexts, Split, emoji_sprites, folder_sprites, texts_of
from sightword.data.scenes.grammar import scene_grammar
from sightword.data.scenes.nouns import countable, plural
from sightword.evaluation.intervals import wilson

_One = TypeVar("_One")
_Tasks: TypeAlias = dict[str, list[_One]]
STRENGTHS = (0.001, 0.01, 0.1, 1.0)
NAMES_TWO = ("either colour", "larger", "which")  # questions that name their two answers


class Options(NamedTuple):
    """texts: of which one is true. answer: its place. kind: what the result is told for, or ""."""

    texts: tuple[str, ...]
    answer: int
    kind: str = ""


class Asked(NamedTuple):
    text: str
    answer: str


class Result(NamedTuple):
    """hits of n; chance: of a guess among the options, or the share of the most frequent answer."""

    hits: int
    n: int
    chance: float


def pairs(texts: SceneTexts) -> Iterator[tuple[str, Options]]:
    """Texts of which one is true, with the task's name."""
    for one in texts.negations:
        yield "negation: absence against presence", Options((one.denied_absent.text, one.denied_present.text), 0)
        yield "affirmation: present against absent", Options((one.affirmed.text, one.affirmed_absent.text), 0)
    for twin in texts.twins:
        yield f"twins: {twin.change}", Options((twin.true.text, twin.false.text), 0)
    if texts.choice:
        options = tuple(option.text for option in texts.choice.options)
        yield "multiple choice", Options(options, texts.choice.answer, texts.choice.kind)


def asked(texts: SceneTexts) -> Iterator[tuple[str, Asked]]:
    for one in texts.questions:
        if one.asks in NAMES_TWO:
            yield f"question: {one.asks}", Asked(one.text, ("second", "first")[one.answer == one.answers[0]])
        else:
            yield f"question: {one.asks}", Asked(one.text, one.answer)


def fitted(texts: list[str], labels: list[str]) -> Pipeline:
    """With the strength that is best on the last fifth."""

    def probe(strength: float, upto: int) -> Pipeline:
        words = CountVectorizer(ngram_range=(1, 2), binary=True, token_pattern=r"[^\s.,;:?]+", min_df=2)
        return make_pipeline(words, LogisticRegression(C=strength, max_iter=300)).fit(texts[:upto], labels[:upto])

    cut = len(texts) * 4 // 5
    scores = {strength: probe(strength, cut).score(texts[cut:], labels[cut:]) for strength in STRENGTHS}
    return probe(max(scores, key=lambda strength: scores[strength]), len(texts))


def chosen(train: list[Options], test: list[Options]) -> Iterator[tuple[str, Result]]:
    """Of all, and of each kind."""
    texts = [text for one in train for text in one.texts]
    labels = [str(place == one.answer) for one in train for place in range(len(one.texts))]
    logits = fitted(texts, labels).decision_function([text for one in test for text in one.texts])
    logits_NC: NDArray[np.float64] = logits.reshape(len(test), -1)
    answers = np.array([one.answer for one in test])
    own = logits_NC[np.arange(len(test)), answers]
    # Ties are shared, at their expected value: equal texts are no evidence.
    ties = (logits_NC == own[:, None]).sum(1)
    hits = (logits_NC <= own[:, None]).all(1) / ties
    chance = 1 / logits_NC.shape[1]
    yield "", Result(round(hits.sum()), len(test), chance)
    kinds = np.array([one.kind for one in test])
    for kind in sorted({one.kind for one in test} - {""}):
        yield f", {kind}", Result(round(hits[kinds == kind].sum()), int((kinds == kind).sum()), chance)


def answered(train: list[Asked], test: list[Asked]) -> Result:
    found = fitted([one.text for one in train], [one.answer for one in train]).predict([one.text for one in test])
    answers = Counter(one.answer for one in test)
    hits = sum(one.answer == said for one, said in zip(test, found, strict=True))
    return Result(hits, len(test), max(answers.values()) / len(test))


def kept(found: Iterable[tuple[str, _One]], first: bool) -> Iterator[tuple[str, _One]]:
    """All of a scene; first: one of each task."""
    seen: set[str] = set()
    for task, one in found:
        if not (first and task in seen):
            yield task, one
        seen.add(task)


def gathered(scenes: Scenes, first: bool) -> tuple[_Tasks[Options], _Tasks[Asked]]:
    options: _Tasks[Options] = {}
    questions: _Tasks[Asked] = {}
    for index in range(len(scenes)):
        texts = texts_of(scenes, index)
        for task, one in kept(pairs(texts), first):
            options.setdefault(task, []).append(one)
        for task, question in kept(asked(texts), first):
            questions.setdefault(task, []).append(question)
    return options, questions


def variety(scenes: Scenes) -> Iterator[str]:
    """How many forms the rules have, and how many short captions differ when all names are called the same."""
    grammar = scene_grammar()
    for kind in ("short", "deny", "affirm", "twin", "ask"):
        yield f"{kind}: {sum(grammar.forms(rule) for rule in grammar.rules if rule.startswith(kind)):,} forms"
    said = {form for name in scenes.names for form in (countable(name), plural(countable(name)))}
    name = re.compile(rf"\b({'|'.join(map(re.escape, sorted(said, key=len, reverse=True)))})\b", re.IGNORECASE)
    found = {name.sub("thing", texts_of(scenes, index).short.text).lower() for index in range(len(scenes))}
    yield f"{len(found):,} of {len(scenes):,} short captions differ in more than names"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=20_000)
    parser.add_argument("--test", type=int, default=5_000)
    parser.add_argument("--split", default="validation")
    parser.add_argument("--sprites", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    sprites = folder_sprites(args.sprites) if args.sprites else emoji_sprites()

    def scenes(split: Split, count: int) -> Scenes:
        return Scenes(sprites, split, count, size=64, seed=args.seed)

    results: dict[str, Result] = {}
    train, test = scenes("train", args.train), scenes(args.split, args.test)
    print("\n".join(variety(test)), flush=True)
    learnt, questions = gathered(train, first=False)
    held, held_questions = gathered(test, first=True)
    for task in sorted(held):
        results |= {task + kind: result for kind, result in chosen(learnt[task], held[task])}
    results |= {task: answered(questions[task], held_questions[task]) for task in sorted(held_questions)}
    print("| task | text alone, % | chance, % | tested |\n| --- | --- | --- | --- |")
    for task, (hits, n, chance) in results.items():
        low, high = wilson(hits, n)
        print(f"| {task} | {100 * hits / n:.1f} ({100 * low:.1f}–{100 * high:.1f}) | {100 * chance:.1f} | {n:,} |")
    if args.json:
        args.json.write_text(json.dumps({task: result._asdict() for task, result in results.items()}, indent=1))


if __name__ == "__main__":
    main()

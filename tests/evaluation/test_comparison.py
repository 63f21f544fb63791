"""Paired tests of two models: against scipy, by simulation, and in words that do not say more than they know."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sightword.errors import RequestError
from sightword.evaluation.comparison import Comparison, Scored, compare, holm, in_words, mcnemar

CLASSES = ("cat", "dog", "owl")


def scored(model: str, right: Any, labels: Any = None, **others: Any) -> Scored:
    """Scores of a model that is right where `right` says so."""
    right = np.asarray(right, dtype=bool)
    labels = np.arange(len(right)) % 3 if labels is None else labels
    scores = np.zeros((len(right), 3))
    scores[np.arange(len(right)), np.where(right, labels, (labels + 1) % 3)] = 1
    keys = [f"{i}.png" for i in range(len(right))]
    return replace(Scored(model, "pets", scores, labels, CLASSES, keys), **others)


@given(st.integers(0, 80), st.integers(0, 80))
def test_mcnemar_is_the_binomial_test(first: int, second: int):
    p, method = mcnemar(first, second)
    n, fewer = first + second, min(first, second)
    exact = stats.binomtest(fewer, n).pvalue if n else 1.0
    if n < 25:
        assert method == "exact McNemar"
        assert p == pytest.approx(exact, rel=1e-9)
    else:
        assert method == "mid-p McNemar"
        tail = 2 * stats.binom.cdf(fewer, n, 0.5) - stats.binom.pmf(fewer, n, 0.5)
        assert p == pytest.approx(min(1, tail), rel=1e-9)
        assert p <= exact + 1e-12


def test_many_discordant_samples_are_no_trouble():
    assert mcnemar(30_000, 30_000)[0] == pytest.approx(1, abs=1e-6)
    assert mcnemar(29_000, 31_000)[0] == pytest.approx(stats.binomtest(29_000, 60_000).pvalue, rel=0.02)


def test_holm_is_the_textbooks():
    base = compare("top1", scored("A", [1, 0, 1]), scored("B", [1, 1, 1]))
    made = holm([replace(base, p=p) for p in (0.01, 0.04, 0.03, 0.005)])
    assert [c.p_suite for c in made] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [c.p for c in made] == [0.01, 0.04, 0.03, 0.005], "the order stays"
    assert {c.tests for c in made} == {4}
    assert holm([]) == []


def test_a_comparison_counts_and_subtracts():
    first, second = scored("A", [1] * 60 + [0] * 40), scored("B", [1] * 50 + [0] * 20 + [1] * 30)
    made = compare("top1", first, second)
    assert (made.only_first, made.only_second) == (20 - 10, 30)
    assert (made.value_first, made.value_second, made.n) == (0.6, 0.8, 100)
    assert made.difference == pytest.approx(0.2)
    assert made.low < 0.2 < made.high
    assert made.method == "mid-p McNemar"
    assert made.settled
    other = compare("top1", second, first)
    assert (other.difference, other.low, other.high) == pytest.approx((-0.2, -made.high, -made.low))
    assert other.p == made.p


def test_pairing_finds_what_separate_intervals_hide():
    rng = np.random.default_rng(0)
    hard = rng.random(2000) < 0.4
    first, second = scored("A", ~hard), scored("B", ~hard | (rng.random(2000) < 0.03))
    assert compare("mean_per_class", first, second).settled
    wide = compare("mean_per_class", first, scored("B", rng.permutation(~hard)))
    narrow = compare("mean_per_class", first, second)
    assert narrow.high - narrow.low < (wide.high - wide.low) / 3


def test_the_tests_find_nothing_where_there_is_nothing():
    """Two models of the same strength, 120 times: 5 % of the tests may say otherwise."""
    rng = np.random.default_rng(0)
    found: dict[str, list[bool]] = {"mcnemar": [], "mean_per_class": [], "roc_auc": []}
    for _ in range(120):
        hard = rng.random(120) < 0.3
        first, second = (scored(name, ~hard ^ (rng.random(120) < 0.2)) for name in "AB")
        made = compare("top1", first, second)
        found["mcnemar"].append(made.p < 0.05)
        found["mean_per_class"].append(compare("mean_per_class", first, second).p < 0.05)
        noisy = [replace(side, scores=side.scores + rng.normal(size=side.scores.shape)) for side in (first, second)]
        found["roc_auc"].append(compare("roc_auc", *noisy).p < 0.05)
    for test, calls in found.items():
        assert np.mean(calls) <= 0.1, test


def test_groups_are_drawn_together():
    videos = [f"v{i // 20}" for i in range(600)]
    better = np.repeat(np.arange(30) < 18, 20)
    first, second = scored("A", ~better, groups=videos), scored("B", better, groups=videos)
    made = compare("top1", first, second)
    assert made.method == "paired cluster bootstrap"
    assert not made.settled
    assert compare("top1", replace(first, groups=()), replace(second, groups=())).settled, "600 samples would"


def same(model: str) -> Scored:
    return scored(model, [1, 0, 1, 1])


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (replace(same("B"), test="cars"), "one was tested on pets, the other on cars"),
        (replace(same("B"), classes=("cat", "dog", "fox")), "their classes differ .*2 that only one of them has"),
        (replace(same("B"), classes=("dog", "cat", "owl")), "their classes stand in another order"),
        (scored("B", [1, 0, 1]), r"their samples differ \(4 and 3; 1 that only one of them has, the first '3.png'"),
        (replace(same("B"), labels=np.array([0, 1, 2, 1])), "their labels differ"),
        (replace(same("B"), groups=("a",) * 4), "their groups differ"),
        (replace(same("B"), ignored=np.zeros((4, 3), dtype=bool)), "other labels were ignored"),
        (replace(same("B"), scores=np.zeros((3, 3))), "4 keys for 3 scores"),
    ],
)
def test_models_that_cannot_be_compared(second: Scored, message: str):
    with pytest.raises(RequestError, match=message):
        compare("top1", same("A"), second)


def outcome(**others: Any) -> Comparison:
    made = Comparison(
        "pets",
        "top1",
        "A",
        "B",
        500,
        0.8,
        0.85,
        0.05,
        0.021,
        0.079,
        0.0004,
        "mid-p McNemar",
        only_first=10,
        only_second=35,
    )
    return replace(made, **others)


def test_words():
    assert in_words(outcome()) == (
        "B is ahead of A by 5.0 points on the 500 samples of pets (top1), which the choice of samples alone would "
        "hardly make (95 % interval of B less A +2.1 to +7.9, p < 0.001, mid-p McNemar)."
    )
    assert in_words(outcome(difference=-0.01, low=-0.04, high=0.02, p=0.43)) == (
        "A is ahead of B by 1.0 points on the 500 samples of pets (top1), which could be noise: these samples do not "
        "tell which of them is better (95 % interval of B less A −4.0 to +2.0, p = 0.43, mid-p McNemar)."
    )


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (
            {"p": 0.01, "p_suite": 0.12, "tests": 12},
            "could be noise: of 12 comparisons, chance may well bring one such",
        ),
        ({"p": 0.0001, "p_suite": 0.0012, "tests": 12}, "p = 0.001 after Holm's correction for 12 comparisons"),
        ({"p": 0.049, "low": -0.001}, "at the edge of noise"),
        ({"p": 0.051}, "at the edge of noise"),
        ({"difference": 0.0, "low": -0.008, "high": 0.008, "p": 1.0}, "does not show that they are equal"),
    ],
)
def test_words_do_not_overclaim(others: dict[str, Any], said: str):
    words = in_words(outcome(**others))
    assert said in words
    assert ("hardly" in words) == outcome(**others).settled


def test_the_same_answers_are_no_proof_of_equality():
    made = compare("top1", same("A"), same("B"))
    assert (made.difference, made.p) == (0, 1)
    assert made.low < -0.3
    assert made.high > 0.3
    assert not made.settled

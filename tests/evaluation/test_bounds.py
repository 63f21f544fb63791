"""Bounds of a chosen prompt: the arithmetic, and that they hold where the truth is known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightword.errors import RequestError
from sightword.evaluation.bounds import error_bound, subset_nats, token_nats
from sightword.evaluation.metrics import METRICS, ranks
from sightword.labels.prompt_choice import choose_templates


def test_numbers_worked_out_by_hand():
    made = error_bound(80, 1600, nats=30, delta=0.01)
    assert (made.error, made.n) == (0.05, 1600)
    assert made.mcallester == pytest.approx(0.05 + math.sqrt((30 + math.log(100) + 2) / 3199))
    assert made.occam == pytest.approx(0.05 + math.sqrt((30 + math.log(100)) / 3200))
    assert (made.mcallester, made.occam, made.kl) == pytest.approx((0.157, 0.154, 0.108), abs=5e-4)
    # No errors: the largest R with -n ln(1 - R) <= nats + ln(1 / delta).
    assert error_bound(0, 100, 0, 0.05).kl == pytest.approx(1 - 0.05 ** (1 / 100), rel=1e-9)
    assert json.loads(json.dumps(made.to_json()))["n"] == 1600


def test_priors_sum_to_one():
    assert sum(math.comb(7, k) * math.exp(-subset_nats(7, k)) for k in range(1, 8)) == pytest.approx(1)
    assert math.exp(-token_nats(0, 5)) == pytest.approx(1 / 5)
    # All strings of up to 60 of the 4 tokens that are not the end.
    assert sum(4**t * math.exp(-token_nats(t, 5)) for t in range(60)) == pytest.approx(1, abs=1e-5)


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0, 100))
def test_the_bounds_are_ordered(case: tuple[int, int], nats: float):
    made = error_bound(*case, nats)
    assert made.error <= made.kl <= made.occam + 1e-12
    assert made.occam <= made.mcallester <= 1


def test_they_hold_for_templates_that_were_chosen_on_the_same_samples():
    """40 templates of different worth, forward selection on 60 samples, the truth from 20,000: the error is above the
    bound in at most delta of the runs, and above the error on the samples that chose in most."""
    rng = np.random.default_rng(0)
    broken, flattered = {"kl": 0, "occam": 0, "mcallester": 0}, 0
    runs, delta = 60, 0.1
    names = [f"{{}} {number}" for number in range(40)]
    for _ in range(runs):
        classes = rng.normal(size=(4, 8))
        vectors = classes + rng.normal(size=(40, 4, 8)) * rng.uniform(1, 4, size=(40, 1, 1))
        vectors = (vectors / np.linalg.norm(vectors, axis=2, keepdims=True)).astype(np.float32)
        labels = rng.integers(0, 4, 3060)
        features = (classes[labels] + 1.2 * rng.normal(size=(3060, 8))).astype(np.float32)
        chosen = choose_templates(
            names, vectors, features[:60], labels[:60], data="made up", split="val", score=METRICS["top1"], most=3
        )
        wrong = ranks(features @ chosen.weights.T, labels) >= 1
        truth = wrong[60:].mean()
        made = error_bound(int(wrong[:60].sum()), 60, subset_nats(40, len(chosen.templates)), delta)
        for name in broken:
            broken[name] += truth > getattr(made, name)
        flattered += truth > made.error
    assert max(broken.values()) <= delta * runs
    assert flattered > 0.6 * runs


def test_the_union_bound_is_not_broken_more_often_than_it_says():
    """Independent guesses, the best of 50 taken: the worst case for a choice."""
    rng = np.random.default_rng(0)
    runs, n, truth = 2000, 40, 0.5
    best = rng.binomial(n, truth, size=(runs, 50)).min(axis=1)
    broken = [truth > error_bound(int(errors), n, math.log(50), 0.05).kl for errors in best]
    assert np.mean(broken) <= 0.05
    without = [truth > error_bound(int(errors), n, 0, 0.05).kl for errors in best]
    assert np.mean(without) > 0.2, "one that forgets the choice is"


@pytest.mark.parametrize("case", [(5, 4, 1.0, 0.05), (0, 0, 1.0, 0.05), (1, 2, -1.0, 0.05), (1, 2, 1.0, 1.0)])
def test_wrong_input_is_named(case: tuple[int, int, float, float]):
    with pytest.raises(RequestError, match="a bound"):
        error_bound(*case)


def test_wrong_priors_are_named():
    with pytest.raises(RequestError, match="5 templates chosen of 4"):
        subset_nats(4, 5)
    with pytest.raises(RequestError, match="vocabulary of 1"):
        token_nats(3, 1)

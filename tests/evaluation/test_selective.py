"""Cut-offs keep what they promise on other samples; abstention is measured as its authors do it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sightword.errors import RequestError
from sightword.evaluation.selective import choose_cutoff, cutoffs, risk_coverage


def answers(n: int = 2000, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Confidences that are the chance of being right, with which they are right or not; labels."""
    rng = np.random.default_rng(seed)
    confidence = rng.random(n)
    return confidence, rng.random(n) < confidence, rng.integers(0, 5, n)


def test_a_cutoff_is_chosen_on_one_half_and_verified_on_the_other():
    confidence, right, labels = answers()
    made = cutoffs(confidence, right, labels, wanted=(0.7, 0.8, 0.9))
    assert [row.wanted for row in made] == [0.7, 0.8, 0.9]
    assert made[0].kept > made[1].kept > made[2].kept > 0
    for row in made:
        assert row.cutoff is not None
        assert row.precision is not None
        assert row.chosen_on == row.n == 1000
        assert row.low < row.precision < row.high
        # Above the cut-off c the precision of these answers is (1 + c) / 2.
        assert row.cutoff == pytest.approx(2 * row.wanted - 1, abs=0.15)
    assert json.loads(json.dumps(made[0].to_json()))["wanted"] == 0.7


def test_what_is_promised_is_kept():
    reached = []
    for seed in range(100):
        confidence, right, labels = answers(n=1000, seed=seed)
        (row,) = cutoffs(confidence, right, labels, wanted=(0.8,), seed=seed)
        if row.cutoff is not None:
            reached.append((1 + row.cutoff) / 2 >= 0.8)
    assert len(reached) > 95
    assert np.mean(reached) >= 0.9, "the cut-off's true precision"


def test_no_cutoff_where_none_reaches_it():
    confidence, right, labels = answers(n=40)
    (row,) = cutoffs(confidence, right, labels, wanted=(0.99,))
    assert (row.cutoff, row.kept, row.precision, row.low, row.high) == (None, 0, None, 0, 1)
    # Ties are kept or left together: ten of one score, half of them right.
    assert choose_cutoff(np.ones(10), np.arange(10) < 5, 0.6) is None
    assert choose_cutoff(np.ones(100), np.ones(100, dtype=bool), 0.9) == 1


def test_the_curve_and_its_area():
    confidence, right, _ = answers()
    made = risk_coverage(confidence, right)
    assert [point.coverage for point in made.points] == pytest.approx([0.05 * step for step in range(1, 21)])
    assert made.points[-1].risk == pytest.approx(1 - right.mean())
    assert made.points[0].risk < 0.1 < made.points[-1].risk
    wrong = ~right[np.argsort(-confidence)]
    risks = wrong.cumsum() / np.arange(1, 2001)
    assert made.aurc.value == pytest.approx(risks.mean())
    # Of the best order, by its closed form (Geifman, Uziel and El-Yaniv): about r + (1 - r) ln(1 - r).
    risk = 1 - right.mean()
    assert made.aurc_best == pytest.approx(risk + (1 - risk) * np.log(1 - risk), abs=1e-3)
    assert made.aurc_best < made.aurc.low < made.aurc.value < made.aurc.high < risk
    assert json.loads(json.dumps(made.to_json()))["aurc"]["metric"] == "aurc"


def test_a_confidence_that_says_nothing_gives_one_point():
    made = risk_coverage(np.zeros(10), np.arange(10) < 7)
    assert [(point.coverage, point.kept) for point in made.points] == [(1, 10)]
    assert made.aurc.value == pytest.approx(0.3)


def test_wrong_input_is_named():
    confidence, right, labels = answers(n=10)
    with pytest.raises(RequestError, match=r"confidence \[9\] and right \[10\]"):
        risk_coverage(confidence[:9], right)
    with pytest.raises(RequestError, match="no samples"):
        risk_coverage(confidence[:0], right[:0])
    with pytest.raises(RequestError, match="10 of 10 are NaN"):
        choose_cutoff(confidence * np.nan, right, 0.9)
    with pytest.raises(RequestError, match=r"a precision of 1\.5"):
        cutoffs(confidence, right, labels, wanted=(1.5,))

"""Wilson's interval, against scipy-free arithmetic and by coverage."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightword.evaluation.intervals import wilson


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    # The first three from Newcombe (1998), table I, method 3; the last by hand: z^2 / (n + z^2).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (29, 29, 0.8830, 1.0)],
)
def test_published_values(hits: int, n: int, low: float, high: float):
    assert wilson(hits, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_share_lies_inside_and_the_ends_solve_the_score_equation(case: tuple[int, int]):
    hits, n = case
    low, high = wilson(hits, n)
    share = hits / n
    assert 0 <= low <= share <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            assert math.isclose(abs(share - end), 1.959964 * math.sqrt(end * (1 - end) / n), rel_tol=1e-5, abs_tol=1e-9)


def test_coverage():
    rng = np.random.default_rng(0)
    for truth in (0.2, 0.5, 0.9):
        inside = [low <= truth <= high for low, high in (wilson(int(k), 300) for k in rng.binomial(300, truth, 1000))]
        assert 0.93 <= np.mean(inside) <= 0.97


def test_nothing_judged_says_nothing():
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="3 hits of 2"):
        wilson(3, 2)

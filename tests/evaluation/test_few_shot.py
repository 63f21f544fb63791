"""Few-shot curves: their draws, their intervals, and where they reach the zero-shot head."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sightword.errors import RequestError
from sightword.evaluation import few_shot as module
from sightword.evaluation.few_shot import EqualShots, equal_shots, few_shot
from sightword.labels import LinearProbe

Samples = tuple[np.ndarray, np.ndarray]


def make(a_class: int, seed: int = 0, c: int = 4, d: int = 16) -> Samples:
    means = np.random.default_rng(9).normal(size=(c, d))
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(c), a_class)
    return (0.7 * means[y] + rng.normal(size=(len(y), d))).astype(np.float32), y


@pytest.fixture(scope="module")
def curve() -> module.FewShotCurve:
    return few_shot(make(24), make(100, 1), zero_shot=0.7, strengths=[1.0, 0.01])


def test_more_samples_a_class_are_better(curve: module.FewShotCurve):
    assert [point.shots for point in curve.points] == [1, 2, 4, 8, 16]
    assert curve.points[0].value < curve.points[-1].value
    assert all(point.low <= point.value <= point.high and point.seeds == 3 for point in curve.points)
    assert {(run.shots, run.seed) for run in curve.runs} == {(k, s) for k in (1, 2, 4, 8, 16) for s in (1, 2, 3)}
    assert [(run.n_train, run.n_validation) for run in curve.runs if run.seed == 1] == [
        (4 * k, 4 * min(k, 4)) for k in (1, 2, 4, 8, 16)
    ]
    assert curve.n_test == 400
    assert curve.left_out == {}
    assert json.loads(json.dumps(curve.to_json()))["points"][0]["shots"] == 1


def test_it_is_the_same_each_time_and_another_with_other_seeds(curve: module.FewShotCurve):
    again = few_shot(make(24), make(100, 1), zero_shot=0.7, strengths=[1.0, 0.01])
    assert again == curve
    other = few_shot(make(24), make(100, 1), shots=[2], seeds=[7, 8], strengths=1.0)
    assert other.equal is None
    assert [run.seed for run in other.runs] == [7, 8]


def test_draws_are_nested_and_no_sample_is_in_two_roles(monkeypatch: pytest.MonkeyPatch):
    x, y = make(20)
    x[:, 0] = np.arange(len(x))  # names the sample
    drawn: dict[int, tuple[set[float], set[float]]] = {}
    fit = LinearProbe.fit

    def watched(self, X, labels, X_val, y_val):
        assert (np.bincount(labels) == len(X) // 4).all()
        assert not {*X[:, 0]} & {*X_val[:, 0]}
        drawn[len(X) // 4] = {*X[:, 0]}, {*X_val[:, 0]}
        return fit(self, X, labels, X_val, y_val)

    monkeypatch.setattr(LinearProbe, "fit", watched)
    few_shot((x, y), (x, y), seeds=[5], strengths=1.0)
    for k in (1, 2, 4, 8):
        assert drawn[k][0] < drawn[2 * k][0]
    assert len(drawn[1][1]) == 4
    assert drawn[4][1] == drawn[16][1]


def test_a_validation_split_is_used_where_there_is_one():
    with_it = few_shot(make(16), make(50, 1), validation=make(4, 2), shots=[16], strengths=[1.0, 0.01])
    assert with_it.validation == "the validation split"
    assert with_it.runs[0].n_validation == 16
    without = few_shot(make(20), make(50, 1), shots=[16], strengths=[1.0, 0.01])
    assert without.validation == "the training data that were not drawn"


def test_what_cannot_be_drawn_is_left_out_and_told():
    curve = few_shot(make(10), make(20, 1), strengths=1.0)
    assert [point.shots for point in curve.points] == [1, 2, 4]
    assert curve.left_out[16] == "16 a class need 20 training samples of each, and the class 0 has 10"
    assert 8 in curve.left_out
    with pytest.raises(RequestError, match="no number of samples a class can be drawn: 1 a class need 2"):
        few_shot(make(1), make(20, 1))


def test_interval_is_that_of_students_t():
    stats = pytest.importorskip("scipy.stats")
    for seeds in (2, 3, 5, 10):
        values = list(np.random.default_rng(seeds).uniform(0.4, 0.6, seeds))
        point = module._point(4, values)
        low, high = stats.t.interval(0.95, seeds - 1, np.mean(values), stats.sem(values))
        assert (point.low, point.high) == pytest.approx((max(0, low), min(1, high)), abs=2e-3)
    assert module._point(4, [0.5]).low is None


@pytest.mark.parametrize(
    ("values", "equal"),
    [
        ([0.2, 0.4, 0.6], EqualShots(4, "at")),
        ([0.2, 0.5, 0.7], EqualShots(2 * 2**0.5, "at")),  # half of the way, over log k
        ([0.6, 0.7, 0.8], EqualShots(1, "at")),
        ([0.7, 0.7, 0.8], EqualShots(1, "at most")),
        ([0.1, 0.2, 0.3], EqualShots(4, "more than")),
        ([0.5, 0.8, 0.3], EqualShots(2 ** (1 / 3), "at")),  # the first time
        ([0.6 - 1e-9, 0.6 - 1e-9, 0.6], EqualShots(4, "at")),
    ],
)
def test_where_a_probe_equals_the_zero_shot_head(values: list[float], equal: EqualShots):
    found = equal_shots(list(zip([1, 2, 4], values, strict=True)), 0.6)
    assert found.relation == equal.relation
    assert found.shots == pytest.approx(equal.shots)


def test_each_seed_has_its_own_equal_point(curve: module.FewShotCurve):
    assert curve.equal == equal_shots([(point.shots, point.value) for point in curve.points], 0.7)
    for seed, equal in curve.equal_by_seed.items():
        assert equal == equal_shots([(run.shots, run.value) for run in curve.runs if run.seed == seed], 0.7)
    assert sorted(curve.equal_by_seed) == [1, 2, 3]


def test_wrong_requests_are_told():
    x, y = make(20)
    with pytest.raises(RequestError, match="one label for each sample"):
        few_shot((x, np.eye(4)[y]), (x, y))
    with pytest.raises(RequestError, match="80 samples and 79 labels"):
        few_shot((x, y[1:]), (x, y))
    with pytest.raises(RequestError, match="numbers of samples from 1"):
        few_shot((x, y), (x, y), shots=[0])
    with pytest.raises(RequestError, match="of no class that was trained"):
        few_shot((x, y), (x, y + 1), shots=[1])

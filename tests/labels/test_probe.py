"""The linear probe against scikit-learn, on the same features."""

from __future__ import annotations

import numpy as np
import pytest

from sightword.errors import RequestError, SightwordWarning
from sightword.labels import LinearProbe, logistic
from sightword.labels.probe import SWEEP


def make(n=400, d=24, c=5, seed=0, apart=0.6):
    """Unit vectors around a common direction, in classes that overlap."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(c, d))
    y = rng.integers(0, c, n)
    x = apart * means[y] + rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -0.3 + 2
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), y


def objective(x, y, coef, intercept, strength):
    """Written once more, in float64: y are places."""
    z = x.astype(np.float64) @ coef.T + intercept
    losses = np.logaddexp.reduce(z, axis=1) - z[np.arange(len(y)), y]
    return losses.sum() + strength / 2 * (coef**2).sum()


@pytest.fixture(scope="module")
def reference():
    return pytest.importorskip("sklearn.linear_model").LogisticRegression


@pytest.mark.parametrize("strength", [100.0, 1.0, 1e-3])
def test_solution_is_that_of_scikit_learn(reference, strength):
    x, y = make()
    ours = LinearProbe(strength, tol=1e-12).fit(x, y)
    theirs = reference(C=1 / strength, tol=1e-10, max_iter=100_000).fit(x.astype(np.float64), y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-3, atol=1e-4 * np.abs(theirs.coef_).max())
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-4)
    assert objective(x, y, ours.coef_, ours.intercept_, strength) == pytest.approx(
        objective(x, y, theirs.coef_, theirs.intercept_, strength), rel=1e-7
    )
    assert ours.path_[0].objective == pytest.approx(objective(x, y, ours.coef_, ours.intercept_, strength), rel=1e-6)
    assert ours.score(x, y) == theirs.score(x, y)


def test_two_classes_have_one_row_as_in_scikit_learn(reference):
    x, y = make(c=2, apart=0.2)
    names = np.array(["cat", "dog"])[y]
    ours, theirs = (
        LinearProbe(0.1, tol=1e-12).fit(x, names),
        reference(C=10, tol=1e-10, max_iter=10_000).fit(x.astype(np.float64), names),
    )
    assert ours.coef_.shape == theirs.coef_.shape == (1, 24)
    assert ours.intercept_.shape == (1,)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-4)
    np.testing.assert_allclose(ours.decision_function(x), theirs.decision_function(x), atol=1e-3)
    assert (ours.predict(x) == theirs.predict(x)).all()


def test_several_labels_at_once_are_as_many_probes(reference):
    x, y = make()
    labels = np.stack([y == 0, y >= 2, (y == 1) | (y == 3)], axis=1)
    ours = LinearProbe(0.5, tol=1e-12).fit(x, labels)
    for column in range(3):
        theirs = reference(C=2, tol=1e-10, max_iter=10_000).fit(x.astype(np.float64), labels[:, column])
        np.testing.assert_allclose(ours.coef_[column], theirs.coef_[0], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(ours.predict_proba(x)[:, column], theirs.predict_proba(x)[:, 1], atol=1e-4)
    assert ours.predict(x).dtype == bool
    assert ours.score(x, labels) == (ours.predict(x) == labels).all(axis=1).mean()


def test_ignored_labels_do_not_count():
    x, y = make()
    labels = np.stack([y == 0, y >= 2], axis=1)
    ignored = np.zeros_like(labels)
    ignored[:100, 0] = True
    some = LinearProbe(0.5, tol=1e-10).fit(x, labels, ignored=ignored)
    alone = LinearProbe(0.5, tol=1e-10).fit(x[100:], labels[100:])
    np.testing.assert_allclose(some.coef_[0], alone.coef_[0], rtol=1e-3, atol=1e-4)
    assert np.abs(some.coef_[1] - alone.coef_[1]).max() > 0.01


def test_every_strength_of_a_path_is_at_its_minimum(reference):
    x, y = make()
    strengths = np.logspace(3, -4, 15)
    probe = LinearProbe(strengths, tol=1e-6).fit(x, y, x, y)
    assert [point.strength for point in probe.path_] == pytest.approx(list(strengths))
    for point in probe.path_:
        cold = LinearProbe(point.strength, tol=1e-11).fit(x, y).path_[0]
        assert point.converged
        assert point.objective / cold.objective - 1 < 1e-5
        theirs = reference(C=point.C, max_iter=1000).fit(x, y)
        assert point.objective <= objective(x, y, theirs.coef_, theirs.intercept_, point.strength) * (1 + 1e-6)
    accuracies = [point.score for point in probe.path_]
    assert probe.strength_ == probe.path_[int(np.argmax(accuracies))].strength


def test_the_order_in_which_strengths_are_named_does_not_matter():
    x, y = make()
    one, other = (LinearProbe(order).fit(x, y, x, y) for order in ([1, 0.01, 100], [100, 1, 0.01]))
    assert one.path_ == other.path_


def test_the_sweep_of_the_paper_searches_around_the_best():
    x, y = make(600)
    probe = LinearProbe().fit(x[:300], y[:300], x[300:450], y[300:450])
    tried = [point.strength for point in probe.path_]
    assert len(SWEEP) == 97
    assert {1e6, 1e4, 1e2, 1.0, 1e-2, 1e-4, 1e-6} <= {float(f"{strength:.6g}") for strength in tried}
    assert len(tried) <= 7 + 2 * 4
    best = SWEEP.index(probe.strength_)
    assert {SWEEP[best - 1], SWEEP[best + 1]} <= set(tried)
    assert max(point.score for point in probe.path_) == next(
        point.score for point in probe.path_ if point.strength == probe.strength_
    )
    assert probe.chosen_on_ == "the given validation data"
    assert probe.score(x[450:], y[450:]) > 0.5


def test_what_is_chosen_is_fitted_on_all_unless_asked_otherwise():
    x, y = make()
    both = LinearProbe([1.0], tol=1e-10).fit(x[:300], y[:300], x[300:], y[300:])
    np.testing.assert_allclose(both.coef_, LinearProbe(1.0, tol=1e-10).fit(x, y).coef_, atol=1e-4)
    apart = LinearProbe([1.0], refit=False, tol=1e-10).fit(x[:300], y[:300], x[300:], y[300:])
    np.testing.assert_allclose(apart.coef_, LinearProbe(1.0, tol=1e-10).fit(x[:300], y[:300]).coef_, atol=1e-4)


def test_without_validation_data_it_holds_out_a_fifth_and_says_so():
    x, y = make()
    probe = LinearProbe([1.0, 0.1, 1e-3]).fit(x, y)
    assert "of the 400 samples, a fifth of each class" in probe.chosen_on_
    assert all(point.score is not None for point in probe.path_)
    alone = LinearProbe(0.1).fit(x, y)
    assert alone.chosen_on_ == "nothing: there was one strength"
    assert alone.path_[0].score is None
    with pytest.raises(RequestError, match="no class has two samples"):
        LinearProbe().fit(np.eye(3, dtype=np.float32), np.arange(3))


def test_metrics_choose():
    x, y = make(600, apart=0.2)
    rare = (y > 0) | (np.arange(600) % 20 == 0)  # a class with few samples
    x, y = x[rare], y[rare]
    seen = []

    def last(p_nc, truth):
        seen.append((p_nc.shape, truth.dtype))
        return float(len(seen))

    probe = LinearProbe([1.0, 0.1, 0.01], metric=last).fit(x[::2], y[::2], x[1::2], y[1::2])
    assert probe.strength_ == 0.01
    assert seen[0] == ((len(x[1::2]), 5), np.int64)
    probe = LinearProbe([100.0, 0.01], metric="mean_per_class", refit=False).fit(x[::2], y[::2], x[1::2], y[1::2])
    held, truth = probe.predict(x[1::2]), y[1::2]
    recalls = [(held[truth == c] == c).mean() for c in range(5)]
    assert max(point.score for point in probe.path_) == pytest.approx(np.mean(recalls))
    with pytest.raises(RequestError, match="none of accuracy"):
        LinearProbe([1.0], metric="f1").fit(x, y, x, y)


@pytest.mark.parametrize("n", [3, 10, 30])
def test_fewer_samples_than_features(reference, n):
    x, y = make(n=60, d=40, c=3)
    x, y = x[:n], np.arange(n) % 3
    ours = LinearProbe(0.01, tol=1e-12).fit(x, y)
    theirs = reference(C=100, tol=1e-10, max_iter=10_000).fit(x.astype(np.float64), y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-4)


def test_separable_data_have_a_solution_at_every_strength():
    x, y = make(apart=5)
    probe = LinearProbe(SWEEP).fit(x, y, x, y)
    assert all(point.converged and np.isfinite(point.objective) for point in probe.path_)
    assert len(probe.path_) == 97
    assert probe.score(x, y) == 1


def test_features_that_say_nothing_leave_the_share_of_each_class():
    y = np.array([0] * 6 + [1] * 3 + [2])
    probe = LinearProbe(1.0, tol=1e-12).fit(np.ones((10, 4), dtype=np.float32), y)
    assert np.abs(probe.coef_).max() < 1e-6
    np.testing.assert_allclose(probe.predict_proba(np.ones((1, 4)))[0], [0.6, 0.3, 0.1], atol=1e-5)


def test_float32_goes_on_in_float64_where_it_must(monkeypatch):
    x, y = make()
    exact = LinearProbe(np.logspace(2, -5, 29), tol=1e-6).fit(x, y, x, y)
    monkeypatch.setattr(logistic, "_LARGE", 0)
    mixed = LinearProbe(np.logspace(2, -5, 29), tol=1e-6).fit(x, y, x, y)
    for one, other in zip(mixed.path_, exact.path_, strict=True):
        assert one.converged
        assert one.objective == pytest.approx(other.objective, rel=1e-5)


def test_blocks_are_added_up(monkeypatch):
    x, y = make(900)
    whole = LinearProbe(0.1).fit(x, y).path_[0]
    monkeypatch.setattr(logistic, "_BLOCK", 1)  # then of 256 rows
    assert LinearProbe(0.1).fit(x, y).path_[0].objective == pytest.approx(whole.objective, rel=1e-9)


def test_a_fit_that_ends_too_early_is_told():
    x, y = make()
    with pytest.warns(SightwordWarning, match=r"1 of 1 fits did not reach tol=1e-05.*strength 0\.0001"):
        probe = LinearProbe(1e-4, max_iter=2).fit(x, y)
    assert not probe.path_[0].converged
    assert probe.path_[0].gradient > 0


def test_it_keeps_the_contract_of_scikit_learn():
    base = pytest.importorskip("sklearn.base")
    probe = LinearProbe([1.0, 0.1], metric="mean_per_class", seed=3)
    copy = base.clone(probe)
    assert copy is not probe
    assert copy.get_params() == probe.get_params()
    assert probe.set_params(tol=1e-3, strengths=2.0) is probe
    assert probe.get_params()["strengths"] == 2.0
    with pytest.raises(RequestError, match="no parameter 'C'"):
        probe.set_params(C=1)
    x, y = make()
    assert probe.fit(x, y) is probe
    assert probe.n_features_in_ == 24
    assert (probe.classes_ == np.arange(5)).all()
    assert probe.predict_proba(x).dtype == np.float32
    assert probe.predict_proba(x.astype(np.float64)).dtype == np.float64


def test_it_works_in_what_scikit_learn_makes_of_estimators():
    pytest.importorskip("sklearn")
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = make()
    assert len(cross_val_score(LinearProbe(0.1), x, y, cv=3)) == 3
    assert make_pipeline(StandardScaler(), LinearProbe(0.1)).fit(x, y).score(x, y) > 0.5
    search = GridSearchCV(LinearProbe(), {"strengths": [100.0, 0.1]}, cv=3).fit(x, y)
    assert search.best_params_ == {"strengths": 0.1}


def test_labels_may_be_words_and_any_numbers():
    x, y = make()
    words = np.array(["ape", "bee", "cow", "dog", "eel"])
    probe = LinearProbe(0.1).fit(x.tolist(), words[y].tolist())
    assert list(probe.classes_) == list(words)
    assert probe.predict(x).dtype == words.dtype
    assert probe.score(x, words[y]) == LinearProbe(0.1).fit(x, y * 10 - 7).score(x, y * 10 - 7)


def with_nan(x):
    x = x.copy()
    x[7, 3] = np.nan
    return x


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (lambda x, y: LinearProbe(1.0).fit(x, np.full_like(y, 4)), "one class only (4)"),
        (lambda x, y: LinearProbe(1.0).fit(x[:0], y[:0]), "there is no sample"),
        (lambda x, y: LinearProbe(1.0).fit(with_nan(x), y), "X: 1 rows hold NaN or infinity; the first is 7"),
        (lambda x, y: LinearProbe(1.0).fit(x, y[:-1]), "X has 400 samples, and y 399"),
        (lambda x, y: LinearProbe(1.0).fit(x[0], y), "must be features [N, D], not [24]"),
        (lambda x, y: LinearProbe(1.0).fit(x.astype(str), y.astype(float) * np.nan), "y: must be one label"),
        (lambda x, y: LinearProbe(1.0).fit(np.array([["a"]]), ["b"]), "X: must be numbers"),
        (lambda x, y: LinearProbe(1.0).fit(x, y, x, y + 1), "y_val: "),
        (lambda x, y: LinearProbe(1.0).fit(x, y, x, y + 1), "of no class that was trained; the first is 5"),
        (lambda x, y: LinearProbe(1.0).fit(x, y, x[:, :9], y), "X_val: has 9 features"),
        (lambda x, y: LinearProbe(1.0).fit(x, y, x), "both X_val and y_val"),
        (lambda x, y: LinearProbe(1.0).fit(x, np.stack([y > 1, y > 9], 1)), "label 1 is the same for all samples"),
        (lambda x, y: LinearProbe(1.0).fit(x, np.stack([y, y], 1)), "must be 0 or 1 for each of 2 labels"),
        (lambda x, y: LinearProbe(0).fit(x, y), "a strength is a number above 0"),
        (lambda x, y: LinearProbe([]).fit(x, y), "there is none"),
        (lambda x, y: LinearProbe(1.0).predict(x), "not fitted yet"),
        (lambda x, y: LinearProbe(1.0).fit(x, y).predict(x[:, :3]), "has 3 features, and the probe was fitted with 24"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(request_, told):
    with pytest.raises(RequestError) as refused:
        request_(*make())
    assert told in str(refused.value)

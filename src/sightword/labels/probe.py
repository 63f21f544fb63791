"""A linear probe: logistic regression on the features of a frozen model (CLIP, arXiv 2103.00020, appendix A.3).

    probe = LinearProbe().fit(X_train, y_train, X_val, y_val)     # the paper's sweep
    probe.score(X_test, y_test), probe.strength_, probe.path_

It keeps scikit-learn's contract, and scikit-learn's objective: a strength is 1 / C. Features are taken as they are,
neither scaled nor standardised. A label may be anything that numpy can sort; bool [N, C] means several at once.

The paper's sweep: 97 strengths from 1e6 to 1e-6, eight a decade (the paper says 96), of which seven are tried first and
then, with half the distance each time, the neighbours of the best. The search is content with a gap of 1e-4. Then the
chosen strength is fitted on training and validation data together, to `tol`.

Shapes: N samples, D features, C classes or labels.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightword.errors import RequestError, SightwordWarning

if TYPE_CHECKING:
    from sightword.labels.logistic import LogisticPath, Solution

Features: TypeAlias = NDArray[np.float32] | NDArray[np.float64]
Truth: TypeAlias = NDArray[np.int64] | NDArray[np.bool_]
Metric: TypeAlias = Literal["accuracy", "mean_per_class"] | Callable[[Features, Truth], float]

SWEEP: tuple[float, ...] = tuple(float(strength) for strength in np.logspace(6, -6, 97))
"""The paper's strengths, strongest first."""

_FIRST = 16  # of the sweep: every so many are tried first
_HELD_OUT = 5  # one of so many samples of each class chooses the strength where no validation data are given


@dataclass(frozen=True)
class ProbePoint:
    """A strength that was fitted. C: scikit-learn's, 1 / strength. objective: the sum of the losses and the penalty, at
    the solution; gradient: its norm there; gap: the share of the objective by which it is above the minimum, as far as
    can be told; converged: whether that is within what was asked for. score: the metric on validation data, where there
    are any."""

    strength: float
    C: float
    objective: float
    gradient: float
    gap: float
    iterations: int
    converged: bool
    score: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class LinearProbe:
    """strengths: a number; a sequence, all of which are fitted; None for the paper's sweep. metric: chooses among them
    on validation data: `accuracy` (of several labels at once: that all are right), `mean_per_class` (of several: the
    share of single answers that are right), or a function of probabilities [N, C] and truth (int64 [N], places in
    `classes_`; or bool [N, C]), of which more is better; the stronger of two equals is taken. refit: on training and
    validation data together, at the chosen strength. tol: the gap at which a fit is good. device: of torch. seed: of
    the split that `fit` makes where it must.

    After `fit`: coef_ [C, D] and intercept_ [C] (one row for two classes), classes_, strength_, C_, n_features_in_,
    n_iter_, path_ (a `ProbePoint` for each strength, strongest first), and chosen_on_, which says how strength_ came
    about.
    """

    def __init__(
        self,
        strengths: float | Sequence[float] | None = None,
        *,
        metric: Metric = "accuracy",
        refit: bool = True,
        tol: float = 1e-5,
        max_iter: int = 1000,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        self.strengths = strengths
        self.metric = metric
        self.refit = refit
        self.tol = tol
        self.max_iter = max_iter
        self.device = device
        self.seed = seed

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _parameters()}

    def set_params(self, **params: Any) -> LinearProbe:
        for name, value in params.items():
            if name not in _parameters():
                raise RequestError(f"LinearProbe has no parameter {name!r}: it has {', '.join(_parameters())}")
            setattr(self, name, value)
        return self

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks of an estimator before it puts it into its pipelines and searches. Whoever asks has
        loaded it."""
        kinds = sys.modules["sklearn.utils"]
        return kinds.Tags("classifier", kinds.TargetTags(required=True), classifier_tags=kinds.ClassifierTags())

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        ignored: NDArray[np.bool_] | None = None,
    ) -> LinearProbe:
        """Without validation data, one strength is fitted as it is; to choose among several, a fifth of each class is
        held out for that. ignored: bool [N, C], labels of the training data that do not count; with validation data
        they need refit=False. Raises RequestError for anything that cannot be learnt from."""
        strengths = self._strengths()
        X_ND, y_N = _features(X, "X"), np.asarray(y)
        truth = self._learn_classes(X_ND, y_N, ignored)
        if (X_val is None) != (y_val is None):
            raise RequestError("validation data are both X_val and y_val, or neither")
        train = np.ones(len(truth), dtype=np.bool_)
        rest: tuple[Features, Truth] | None = None
        if X_val is not None and y_val is not None:
            if ignored is not None and self.refit:
                raise RequestError("`ignored` says nothing of the validation data: take refit=False")
            rest = _features(X_val, "X_val", X_ND.shape[1]), self._truth(np.asarray(y_val), "y_val")
            _check_lengths(len(rest[0]), len(rest[1]), "X_val", "y_val")
            self.chosen_on_ = "the given validation data"
        elif len(strengths) > 1:
            held_out = _hold_out(truth, self.seed)
            train, rest = ~held_out, (X_ND[held_out], truth[held_out])
            self.chosen_on_ = (
                f"{held_out.sum()} of the {len(truth)} samples, a fifth of each class, which the fits of the path did "
                f"not see (seed {self.seed})"
            )
        else:
            self.chosen_on_ = "nothing: there was one strength"
        counted = None if ignored is None else ~ignored
        problem = self._problem(X_ND[train], truth[train], None if counted is None else counted[train])
        best = self._walk(problem, strengths, rest)
        self.strength_, self.C_ = best.strength, 1 / best.strength
        if rest is not None and self.refit:
            if X_val is not None:
                X_ND, truth = np.concatenate([X_ND, rest[0]]), np.concatenate([truth, rest[1]])
            problem = self._problem(X_ND, truth, counted)
            problem.begin(best)
            best = problem.solve(best.strength)
            self._warn([best])
        elif self.strengths is None:
            best = problem.solve(best.strength)
            self._warn([best])
        self.coef_, self.intercept_ = best.weights.T.copy(), best.intercept
        self.n_iter_ = np.array([best.iterations])
        return self

    def decision_function(self, X: ArrayLike) -> Features:
        """Logits [N, C]; [N] of two classes, above 0 where the second is likelier."""
        if not hasattr(self, "coef_"):
            raise RequestError("this LinearProbe is not fitted yet: call fit first")
        logits_NC = _logits(_features(X, "X", self.n_features_in_), self.coef_.T, self.intercept_)
        return logits_NC[:, 0] if self._two_classes else logits_NC

    def predict_proba(self, X: ArrayLike) -> Features:
        """[N, C]. They add up to 1, but for several labels at once, of which each is by itself."""
        logits = self.decision_function(X)
        return self._probabilities(logits[:, None] if logits.ndim == 1 else logits)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The likeliest class of each, [N]; of several labels at once those likelier than not, bool [N, C]."""
        p_NC = self.predict_proba(X)
        return p_NC > 0.5 if self.multi_label_ else self.classes_[p_NC.argmax(axis=1)]

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """The share of the samples that are right (with several labels at once: of which all are)."""
        predicted, y_N = self.predict(X), np.asarray(y)
        _check_lengths(len(predicted), len(y_N), "X", "y")
        right = predicted == y_N
        return float(right.all(axis=1).mean() if self.multi_label_ else right.mean())

    def measure(self, X: ArrayLike, y: ArrayLike) -> float:
        """The metric that chooses among strengths."""
        p_NC, truth = self.predict_proba(X), self._truth(np.asarray(y), "y")
        _check_lengths(len(p_NC), len(truth), "X", "y")
        return self._measure(p_NC, truth)

    def _strengths(self) -> tuple[float, ...]:
        asked = SWEEP if self.strengths is None else self.strengths
        found = tuple(float(one) for one in (asked if isinstance(asked, Iterable) else (asked,)))
        wrong = [one for one in found if not (np.isfinite(one) and one > 0)]
        if wrong or not found:
            told = f"not {wrong[0]:g}" if wrong else "and there is none"
            raise RequestError(f"a strength is a number above 0 (scikit-learn's 1 / C), {told}")
        return tuple(sorted(set(found), reverse=True))

    def _learn_classes(self, X_ND: Features, y: NDArray[Any], ignored: NDArray[np.bool_] | None) -> Truth:
        _check_lengths(len(X_ND), len(y), "X", "y")
        self.n_features_in_, self.multi_label_ = X_ND.shape[1], y.ndim == 2
        if ignored is not None and (ignored.shape != y.shape or not self.multi_label_):
            raise RequestError(f"`ignored` is {list(ignored.shape)}, and not as y, [N, C] of several labels at once")
        self.classes_ = np.arange(y.shape[1]) if self.multi_label_ else np.unique(y)
        truth = self._truth(y, "y")
        if self.multi_label_:
            counts = truth if ignored is None else truth & ~ignored
            total_C = len(y) if ignored is None else (~ignored).sum(axis=0)
            same = np.flatnonzero((counts.sum(axis=0) == 0) | (counts.sum(axis=0) == total_C))
            if len(same):
                raise RequestError(f"label {same[0]} is the same for all samples, so it cannot be learnt: leave it out")
        elif len(self.classes_) < 2:
            told = f"there is one class only ({self.classes_[0]!s})" if len(y) else "there is no sample"
            raise RequestError(f"{told}: nothing to tell apart")
        self._two_classes = not self.multi_label_ and len(self.classes_) == 2
        return truth

    def _truth(self, y: NDArray[Any], name: str) -> Truth:
        """Labels as places in `classes_`, or bool [N, C]."""
        if self.multi_label_:
            if y.ndim != 2 or y.shape[1] != len(self.classes_) or not np.isin(y, (0, 1)).all():
                raise RequestError(f"{name}: must be 0 or 1 for each of {len(self.classes_)} labels, [N, C]")
            return y.astype(np.bool_)
        if y.ndim != 1 or (y.dtype.kind == "f" and not np.isfinite(y).all()):
            raise RequestError(f"{name}: must be one label for each sample, [N], and none of them NaN")
        places = np.searchsorted(self.classes_, y).clip(max=max(0, len(self.classes_) - 1))
        unknown = np.flatnonzero(self.classes_[places] != y) if len(y) else places
        if len(unknown):
            raise RequestError(
                f"{name}: {len(unknown)} labels are of no class that was trained; the first is {y[unknown[0]]!s} (row "
                f"{unknown[0]})"
            )
        return places.astype(np.int64)

    def _problem(self, X_ND: Features, truth: Truth, counted: NDArray[np.bool_] | None) -> LogisticPath:
        from sightword.labels.logistic import LogisticPath

        columns = 1 if self._two_classes else len(self.classes_)
        sigmoid = self._two_classes or self.multi_label_
        return LogisticPath(
            X_ND,
            truth[:, None] == 1 if self._two_classes else truth,
            columns,
            "sigmoid" if sigmoid else "softmax",
            counted,
            self.tol,
            self.max_iter,
            self.device,
        )

    def _walk(
        self, problem: LogisticPath, strengths: tuple[float, ...], rest: tuple[Features, Truth] | None
    ) -> Solution:
        """Fit all of them, or those that the paper's search visits; set path_, and give the best."""
        from sightword.labels.logistic import ROUGH

        found: dict[int, tuple[Solution, float | None]] = {}
        tol = max(self.tol, ROUGH) if self.strengths is None else self.tol
        best: int | None = None

        def visit(place: int) -> None:
            nonlocal best
            if not 0 <= place < len(strengths) or place in found:
                return
            solution = problem.solve(strengths[place], tol)
            score = None
            if rest is not None:
                logits_NC = _logits(rest[0], solution.weights, solution.intercept)
                score = self._measure(self._probabilities(logits_NC), rest[1])
            found[place] = solution, score
            if best is None or (score is not None and (score, -place) > (found[best][1], -best)):
                best = place

        if self.strengths is None:
            for place in range(0, len(strengths), _FIRST):
                visit(place)
            distance = _FIRST // 2
            while distance and best is not None:
                middle = best
                for place in (middle - distance, middle + distance):
                    visit(place)
                distance //= 2
        else:
            for place in range(len(strengths)):
                visit(place)
        assert best is not None
        self.path_ = tuple(_point(*found[place]) for place in sorted(found))
        self._warn([solution for solution, _ in found.values()])
        return found[best][0]

    def _measure(self, p_NC: Features, truth: Truth) -> float:
        if callable(self.metric):
            return float(self.metric(p_NC, truth))
        if self.metric not in ("accuracy", "mean_per_class"):
            raise RequestError(f"metric: {self.metric!r} is none of accuracy, mean_per_class, or a function")
        if self.multi_label_:
            right_NC = (p_NC > 0.5) == truth
            return float(right_NC.all(axis=1).mean() if self.metric == "accuracy" else right_NC.mean())
        right_N = p_NC.argmax(axis=1) == truth
        if self.metric == "accuracy":
            return float(right_N.mean())
        return float(np.mean([right_N[truth == place].mean() for place in np.unique(truth)]))

    def _probabilities(self, logits_NC: Features) -> Features:
        if self._two_classes or self.multi_label_:
            p_NC = np.exp(-np.logaddexp(0, -logits_NC))
            return np.concatenate([1 - p_NC, p_NC], axis=1) if self._two_classes else p_NC
        exp_NC = np.exp(logits_NC - logits_NC.max(axis=1, keepdims=True))
        return exp_NC / exp_NC.sum(axis=1, keepdims=True)

    def _warn(self, solutions: Sequence[Solution]) -> None:
        far = [solution for solution in solutions if not solution.converged]
        if far:
            worst = max(far, key=lambda solution: solution.gap)
            warnings.warn(
                f"{len(far)} of {len(solutions)} fits did not reach tol={self.tol:g}; the worst is at the strength "
                f"{worst.strength:g}, where the gap is {worst.gap:.1e} and the gradient {worst.gradient:.1e} after "
                f"{worst.iterations} iterations: raise max_iter or tol, or leave out such weak strengths",
                SightwordWarning,
                stacklevel=3,
            )


def _parameters() -> list[str]:
    return [name for name in inspect.signature(LinearProbe.__init__).parameters if name != "self"]


def _point(solution: Solution, score: float | None) -> ProbePoint:
    strength = solution.strength
    return ProbePoint(
        strength,
        1 / strength,
        solution.objective,
        solution.gradient,
        solution.gap,
        solution.iterations,
        solution.converged,
        score,
    )


def _logits(X_ND: Features, weights_DC: NDArray[np.float64], intercept_C: NDArray[np.float64]) -> Features:
    return X_ND @ weights_DC.astype(X_ND.dtype) + intercept_C.astype(X_ND.dtype)


def _features(X: ArrayLike, name: str, dim: int | None = None) -> Features:
    X_ND = np.asarray(X)
    if X_ND.dtype not in (np.float32, np.float64):
        try:
            X_ND = X_ND.astype(np.float32 if X_ND.dtype == np.float16 else np.float64)
        except (TypeError, ValueError):
            raise RequestError(f"{name}: must be numbers, not {X_ND.dtype}") from None
    if X_ND.ndim != 2 or not X_ND.shape[1]:
        raise RequestError(f"{name}: must be features [N, D], not {list(X_ND.shape)}")
    if dim is not None and X_ND.shape[1] != dim:
        raise RequestError(f"{name}: has {X_ND.shape[1]} features, and the probe was fitted with {dim}")
    finite_N = np.isfinite(X_ND.sum(axis=1, dtype=np.float64))
    if not finite_N.all():
        raise RequestError(f"{name}: {(~finite_N).sum()} rows hold NaN or infinity; the first is {finite_N.argmin()}")
    return X_ND


def _check_lengths(features: int, labels: int, X: str, y: str) -> None:
    if features != labels:
        raise RequestError(f"{X} has {features} samples, and {y} {labels}")


def _hold_out(truth: Truth, seed: int) -> NDArray[np.bool_]:
    """A fifth of each class, and of a class with two to four samples one; with several labels at once, of all."""
    rng = np.random.default_rng(seed)
    held_out = np.zeros(len(truth), dtype=np.bool_)
    groups = [np.arange(len(truth))] if truth.ndim == 2 else [np.flatnonzero(truth == c) for c in np.unique(truth)]
    for rows in groups:
        count = max(len(rows) // _HELD_OUT, min(1, len(rows) - 1))
        held_out[rng.permutation(rows)[:count]] = True
    if not held_out.any():
        raise RequestError(
            "no class has two samples, so none can be held out to choose a strength: give validation data, or one "
            "strength"
        )
    return held_out

"""Few-shot probes beside the zero-shot head, and how many examples a class the head is worth.

The protocol is that of CLIP (arXiv 2103.00020, section 3.1.5 and figures 6 and 7) with the draws of CoOp (arXiv
2109.01134): 1, 2, 4, 8 and 16 samples of each class, three seeds, L2 logistic regression. Its strength is chosen on
min(k, 4) further samples of each class, which are not trained on: of a validation split where there is one, and of the
rest of the training data otherwise. The test data choose nothing. The draws of a seed are nested: what is among its 4
samples is among its 8.

The equal-k point is where the mean curve first reaches the zero-shot head's value, between two k by a straight line
over log k. Where the first k is there already, it is at most that k; where the last is not, it is more than that.

Shapes: N samples, D features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightword.errors import RequestError
from sightword.labels.probe import LinearProbe, Metric

SHOTS = (1, 2, 4, 8, 16)
SEEDS = (1, 2, 3)
_VALIDATION = 4  # samples a class at most

Samples = tuple[ArrayLike, ArrayLike]
"""Features [N, D] and labels [N]."""


@dataclass(frozen=True)
class FewShotRun:
    """One draw. value: the metric on the test data. strength: what validation chose."""

    shots: int
    seed: int
    value: float
    strength: float
    n_train: int
    n_validation: int


@dataclass(frozen=True)
class FewShotPoint:
    """value: the mean over the seeds. low, high: its 95 % interval over draws (Student's t), which says nothing of
    other test data; both None with one seed."""

    shots: int
    value: float
    low: float | None
    high: float | None
    seeds: int


@dataclass(frozen=True)
class EqualShots:
    """Where a probe equals the zero-shot head: at `shots` samples a class, at most or more than so many."""

    shots: float
    relation: Literal["at", "at most", "more than"]


@dataclass(frozen=True)
class FewShotCurve:
    """equal: of the mean over the seeds; equal_by_seed: of each seed's own curve; None without a zero-shot value.
    left_out: the k that could not be drawn, and why. validation: where the samples that chose strengths came from."""

    points: tuple[FewShotPoint, ...]
    runs: tuple[FewShotRun, ...]
    zero_shot: float | None
    equal: EqualShots | None
    equal_by_seed: dict[int, EqualShots]
    left_out: dict[int, str]
    validation: str
    n_test: int
    classes: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def few_shot(
    train: Samples,
    test: Samples,
    zero_shot: float | None = None,
    validation: Samples | None = None,
    shots: Sequence[int] = SHOTS,
    seeds: Sequence[int] = SEEDS,
    metric: Metric = "accuracy",
    strengths: float | Sequence[float] | None = None,
    device: str = "cpu",
) -> FewShotCurve:
    """zero_shot: the value of the zero-shot head on the same test data, by the same metric. strengths, metric, device:
    as in `LinearProbe`. Raises RequestError where no k can be drawn, or a class of the test data was never seen."""
    x_ND, y_N = np.asarray(train[0]), np.asarray(train[1])
    held = None if validation is None else (np.asarray(validation[0]), np.asarray(validation[1]))
    if y_N.ndim != 1:
        raise RequestError("few-shot needs one label for each sample: of several at once no k of a class can be drawn")
    if len(x_ND) != len(y_N):
        raise RequestError(f"the training data have {len(x_ND)} samples and {len(y_N)} labels")
    if not seeds or not shots or min(shots) < 1 or len({*seeds}) < len(seeds):
        raise RequestError("few-shot needs numbers of samples from 1, and seeds of which no two are alike")
    classes = np.unique(y_N)
    runs: list[FewShotRun] = []
    left_out: dict[int, str] = {}
    for k in sorted({*shots}):
        reason = _too_few(y_N, None if held is None else held[1], classes, k)
        if reason:
            left_out[k] = reason
            continue
        for seed in seeds:
            rows, val_rows = _draw(y_N, classes, k, 0 if held else min(k, _VALIDATION), seed)
            chosen_x, chosen_y = x_ND[val_rows], y_N[val_rows]
            if held:
                val_rows, _ = _draw(held[1], classes, min(k, _VALIDATION), 0, seed)
                chosen_x, chosen_y = held[0][val_rows], held[1][val_rows]
            probe = LinearProbe(strengths, metric=metric, refit=False, device=device)
            probe.fit(x_ND[rows], y_N[rows], chosen_x, chosen_y)
            runs.append(FewShotRun(k, seed, probe.measure(*test), probe.strength_, len(rows), len(val_rows)))
    if not runs:
        raise RequestError(f"no number of samples a class can be drawn: {left_out[min(left_out)]}")
    points = tuple(
        _point(k, [run.value for run in runs if run.shots == k]) for k in sorted({run.shots for run in runs})
    )
    equal, by_seed = None, {}
    if zero_shot is not None:
        equal = equal_shots([(point.shots, point.value) for point in points], zero_shot)
        for seed in seeds:
            by_seed[seed] = equal_shots([(run.shots, run.value) for run in runs if run.seed == seed], zero_shot)
    return FewShotCurve(
        points=points,
        runs=tuple(runs),
        zero_shot=zero_shot,
        equal=equal,
        equal_by_seed=by_seed,
        left_out=left_out,
        validation="the validation split" if held else "the training data that were not drawn",
        n_test=len(np.asarray(test[1])),
        classes=len(classes),
    )


def equal_shots(curve: Sequence[tuple[float, float]], zero_shot: float) -> EqualShots:
    """curve: (samples a class, value), from few to many. It may end with the probe of all the training data, at their
    mean number a class."""
    if not curve:
        raise RequestError("a curve without a point reaches nothing")
    first_k, first = curve[0]
    if first >= zero_shot:
        return EqualShots(float(first_k), "at" if first == zero_shot else "at most")
    for (k, value), (next_k, next_value) in pairwise(curve):
        if next_value >= zero_shot:
            share = (zero_shot - value) / (next_value - value)
            return EqualShots(math.exp(math.log(k) + share * math.log(next_k / k)), "at")
    return EqualShots(float(curve[-1][0]), "more than")


def _too_few(y: NDArray[Any], y_val: NDArray[Any] | None, classes: NDArray[Any], k: int) -> str:
    """Why k samples of each class cannot be drawn; empty where they can."""
    asked = [(y, k if y_val is not None else k + min(k, _VALIDATION), "training")]
    if y_val is not None:
        asked.append((y_val, min(k, _VALIDATION), "validation"))
    for labels, need, name in asked:
        counts = [int((labels == c).sum()) for c in classes]
        if min(counts) < need:
            place = int(np.argmin(counts))
            return (
                f"{k} a class need {need} {name} samples of each, and the class {classes[place]!s} has {counts[place]}"
            )
    return ""


def _draw(
    y: NDArray[Any], classes: NDArray[Any], k: int, further: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """k samples of each class, and as many further ones. The first are from the front of one order of the class, the
    further ones from its back, so that both are nested over k."""
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(np.flatnonzero(y == c)) for c in classes]
    back = [order[len(order) - further :] for order in orders]
    return np.concatenate([order[:k] for order in orders]), np.concatenate(back)


def _point(k: int, values: Sequence[float]) -> FewShotPoint:
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return FewShotPoint(k, mean, None, None, n)
    half = _student(n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return FewShotPoint(k, mean, max(0.0, mean - half), min(1.0, mean + half), n)


def _student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t: exact for one and two degrees of freedom, by the series of Cornish and Fisher
    beyond (0.7 % too short at three, less after)."""
    if freedom == 1:
        return math.tan(math.pi * 0.475)
    if freedom == 2:
        return 0.95 * math.sqrt(2 / (1 - 0.95**2))
    z = NormalDist().inv_cdf(0.975)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3

"""Answering only where the model is sure enough: cut-offs for a wanted precision, and what abstention buys.

A confidence is any score of the class that is answered (a softmax score, calibrated or not, a cosine): only its order
counts. Shapes: N samples.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sightword.errors import RequestError
from sightword.evaluation.bootstrap import bootstrap
from sightword.evaluation.calibration import half
from sightword.evaluation.intervals import wilson
from sightword.evaluation.metrics import Measured, Scores
from sightword.evaluation.weighted import Bools, Floats, Ints, Statistic, steps_down

COVERAGES = tuple(round(0.05 * step, 2) for step in range(1, 21))


@dataclass(frozen=True, slots=True)
class CutOff:
    """Answers of a confidence of at least `cutoff` are kept. Chosen on `chosen_on` samples so that the lower end of the
    precision's interval reached `wanted` there; None where no cut-off did. The rest is of `n` other samples: how many
    are kept, and of these the share that is right (precision), with Wilson's 95 % interval; None where none is kept."""

    wanted: float
    cutoff: float | None
    chosen_on: int
    n: int
    kept: int
    precision: float | None
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Abstention:
    """Of the n samples the `kept` most confident are answered (a share of `coverage`); `risk`: the share of these that
    is wrong, with Wilson's 95 % interval."""

    coverage: float
    kept: int
    risk: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """points: the curve. aurc: the area under it, 0 … 1, the smaller the better. aurc_best: of an order that puts all
    wrong answers last; no order of these answers has less."""

    points: tuple[Abstention, ...]
    aurc: Measured
    aurc_best: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def cutoffs(
    confidence_N: Scores,
    right_N: Bools,
    labels_N: Ints,
    wanted: tuple[float, ...] = (0.8, 0.9, 0.95, 0.99),
    seed: int = 0,
) -> list[CutOff]:
    """Chosen on one half of the samples, verified on the other."""
    _check(confidence_N, right_N)
    fit_N = half(labels_N, seed)
    made: list[CutOff] = []
    for precision in wanted:
        cutoff = choose_cutoff(confidence_N[fit_N], right_N[fit_N], precision)
        kept_N = ~fit_N & (confidence_N >= cutoff) if cutoff is not None else np.zeros_like(fit_N)
        kept, hits = int(kept_N.sum()), int(right_N[kept_N].sum())
        rest = int((~fit_N).sum())
        share = hits / kept if kept else None
        made.append(CutOff(precision, cutoff, int(fit_N.sum()), rest, kept, share, *wilson(hits, kept)))
    return made


def choose_cutoff(confidence_N: Scores, right_N: Bools, precision: float) -> float | None:
    """The lowest cut-off at which the lower end of the precision's 95 % interval reaches `precision`: the bare
    precision would be reached somewhere by luck, and not again. None where there is no such cut-off."""
    _check(confidence_N, right_N)
    if not 0 < precision < 1:
        raise RequestError(f"a precision of {precision}: must lie between 0 and 1")
    order, ends = steps_down(confidence_N)
    hits = np.cumsum(right_N[order])
    for end in ends[::-1].tolist():
        if wilson(int(hits[end - 1]), end)[0] >= precision:
            return float(confidence_N[order[end - 1]])
    return None


def risk_coverage(confidence_N: Scores, right_N: Bools, seed: int = 0) -> RiskCoverage:
    """What is wrong among the most confident answers. Samples of one confidence are answered together or not at all, so
    that a point may lie above its coverage."""
    _check(confidence_N, right_N)
    order, ends = steps_down(confidence_N)
    wrong = np.concatenate([[0], np.cumsum(~right_N[order])])
    points: list[Abstention] = []
    for coverage in COVERAGES:
        kept = int(ends[np.searchsorted(ends, coverage * len(order) - 1e-9)])
        if not points or kept > points[-1].kept:
            low, high = wilson(int(wrong[kept]), kept)
            points.append(Abstention(kept / len(order), kept, float(wrong[kept] / kept), low, high))
    area = RiskArea(confidence_N, right_N)
    estimate = bootstrap(area, seed=seed)
    return RiskCoverage(
        points=tuple(points),
        aurc=Measured("aurc", estimate.value, estimate.low, estimate.high, area.n, "bootstrap"),
        aurc_best=RiskArea(right_N.astype(np.float64) + np.linspace(0, 0.5, len(right_N)), right_N).value,
    )


class RiskArea(Statistic):
    """The mean, over the samples, of the risk among those at least as confident (Geifman, Uziel and El-Yaniv 2019,
    arXiv 1805.08206)."""

    bias_order = 1.0

    def __init__(self, confidence_N: Scores, right_N: Bools) -> None:
        self.n = len(right_N)
        self.effective_n = float(self.n)
        self.order, self.ends = steps_down(confidence_N)
        self.wrong_N1 = (~right_N[self.order]).astype(np.float64)[:, None]

    def __call__(self, weights_NB: Floats) -> Floats:
        sorted_NB = weights_NB[self.order]
        kept_GB = np.cumsum(sorted_NB, axis=0)[self.ends - 1]
        wrong_GB = np.cumsum(sorted_NB * self.wrong_N1, axis=0)[self.ends - 1]
        risk_GB = np.divide(wrong_GB, kept_GB, out=np.zeros_like(kept_GB), where=kept_GB > 0)
        return (np.diff(kept_GB, axis=0, prepend=0.0) * risk_GB).sum(axis=0) / kept_GB[-1]


def _check(confidence_N: Scores, right_N: Bools) -> None:
    if confidence_N.shape != right_N.shape or confidence_N.ndim != 1:
        raise RequestError(f"confidence {list(confidence_N.shape)} and right {list(right_N.shape)}: need [N] each")
    if not len(right_N):
        raise RequestError("no samples: there is nothing to measure")
    if np.isnan(confidence_N).any():
        raise RequestError(f"confidence: {np.isnan(confidence_N).sum()} of {len(confidence_N)} are NaN")

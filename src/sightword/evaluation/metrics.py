"""The metrics by which models are compared, each of the scores of all classes.

Shapes: N samples, C classes. Labels are the numbers of the classes [N]; or, of a multi-label test, True where a class
is there [N, C], with `ignored` [N, C] where it does not count either way (PASCAL VOC's "difficult").

Against the same scores in scikit-learn, torchmetrics and clip-benchmark, to 1e-6, but for these:

- A tie never flatters. A sample counts as right among the k best where fewer than k other classes score at least as
  high as its own. The others take whichever of the equal classes comes first, so that a model that gives every class
  the same score is right on the first class.
- Average precision takes samples of equal score as one step, as scikit-learn and torchmetrics do. clip-benchmark takes
  them in the order in which they are sorted.
- A class without a positive has no average precision, and one without negatives no AUC: both are left out of the mean,
  as in torchmetrics. clip-benchmark counts such a class as 0; scikit-learn does so for average precision.
- A class of which the test has no sample has no share in the mean per class (as in scikit-learn).
- Top 5 needs more than 5 classes: of 5, all would be right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sightword.errors import RequestError
from sightword.evaluation.bootstrap import bootstrap
from sightword.evaluation.intervals import wilson
from sightword.evaluation.weighted import (
    AveragePrecision,
    Bools,
    ClassMean,
    ElevenPoints,
    Ints,
    Mean,
    MeanPerClass,
    RocAuc,
    Statistic,
)

Scores: TypeAlias = NDArray[np.floating[Any]]
Labels: TypeAlias = Ints | Bools
IntervalKind: TypeAlias = Literal["wilson", "bootstrap", "cluster bootstrap", "bootstrap over classes"]


@dataclass(frozen=True)
class Metric:
    """Called with (scores_NC, labels, ignored) it gives the value, 0 … 1. statistic: the same as a function of weights.
    share: it is a share of samples."""

    name: str
    statistic: Callable[[Scores, Labels, Bools | None], Statistic]
    share: bool = False

    def __call__(self, scores_NC: Scores, labels: Labels, ignored: Bools | None = None) -> float:
        """Raises RequestError for scores and labels that do not fit each other or the metric, NaN, and nothing to
        measure."""
        value = self.statistic(scores_NC, labels, ignored).value
        if np.isnan(value):
            raise RequestError(f"{self.name}: no class has what it needs (positives; for an AUC, negatives too)")
        return value


@dataclass(frozen=True, slots=True)
class Measured:
    """low, high: the ends of the 95 % interval, and `interval` how it was made. n: samples."""

    metric: str
    value: float
    low: float
    high: float
    n: int
    interval: IntervalKind

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def measure(
    metric: str,
    scores_NC: Scores,
    labels: Labels,
    ignored: Bools | None = None,
    seed: int = 0,
    *,
    groups: Sequence[str] = (),
    over_classes: bool = False,
) -> Measured:
    """A metric with its 95 % interval: Wilson's for shares, else by bootstrap of the samples.

    groups [N]: samples that hang together (frames of one video); they are then drawn together. over_classes: for a mean
    over classes, the classes are drawn instead: how far the value may lie from that of other classes of this kind.
    Raises RequestError as the metric does, and for an unknown one.
    """
    chosen = find_metric(metric)
    statistic = chosen.statistic(scores_NC, labels, ignored)
    kind: IntervalKind
    if over_classes and len(groups):
        raise RequestError("an interval is over groups or over classes: give one of them")
    if over_classes:
        kind = "bootstrap over classes"
        estimate = bootstrap(_class_by_class(metric, statistic), seed=seed)
    elif chosen.share and not len(groups):
        value = statistic.value
        low, high = wilson(round(value * statistic.n), statistic.n)
        return Measured(metric, value, low, high, statistic.n, "wilson")
    else:
        kind = "cluster bootstrap" if len(groups) else "bootstrap"
        estimate = bootstrap(statistic, groups, seed)
    return Measured(metric, estimate.value, estimate.low, estimate.high, len(scores_NC), kind)


def find_metric(name: str) -> Metric:
    if name not in METRICS:
        raise RequestError(f"{name!r} is no metric; there are {', '.join(METRICS)}")
    return METRICS[name]


def ranks(scores_NC: Scores, labels_N: Ints) -> Ints:
    """[N]: how many other classes score at least as high as the true one: a tie never flatters."""
    true_N1 = np.take_along_axis(scores_NC, labels_N[:, None], axis=1)
    return (scores_NC >= true_N1).sum(axis=1) - 1


def single_ranks(scores_NC: Scores, labels: Labels, ignored: Bools | None = None, needs: str = "this") -> Ints:
    """`ranks`, of a test that was found to have one label a sample."""
    check(scores_NC, labels, ignored)
    if labels.ndim != 1:
        raise RequestError(
            f"{needs} needs one label for each sample; this test is multi-label: use map, map11 or roc_auc"
        )
    return ranks(scores_NC, labels.astype(np.int64, copy=False))


def check(scores_NC: Scores, labels: Labels, ignored: Bools | None = None) -> None:
    """Raises RequestError where these are not scores and labels of one test."""
    if scores_NC.ndim != 2 or len(labels) != len(scores_NC):
        raise RequestError(f"scores {list(scores_NC.shape)} and {len(labels)} labels: need [N, C] and N")
    if not len(scores_NC):
        raise RequestError("no samples: there is nothing to measure")
    if np.isnan(scores_NC).any():
        raise RequestError(f"scores: {np.isnan(scores_NC).any(axis=1).sum()} of {len(scores_NC)} samples have NaN")
    classes = scores_NC.shape[1]
    if labels.ndim == 2:
        if labels.dtype != np.bool_ or labels.shape != scores_NC.shape:
            raise RequestError(
                f"labels {list(labels.shape)} of {labels.dtype}: multi-label needs {list(scores_NC.shape)} of bool"
            )
        if ignored is not None and ignored.shape != labels.shape:
            raise RequestError(f"ignored {list(ignored.shape)}: needs {list(labels.shape)}, as the labels")
        return
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise RequestError(f"labels {list(labels.shape)} of {labels.dtype}: need the number of a class for each sample")
    if ignored is not None:
        raise RequestError("ignored: only a multi-label test has labels that do not count")
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        place = int(outside.argmax())
        raise RequestError(f"label {labels[place]} of sample {place + 1} lies outside the {classes} classes")


def _top1(scores_NC: Scores, labels: Labels, ignored: Bools | None) -> Statistic:
    return Mean(single_ranks(scores_NC, labels, ignored, "top1") < 1)


def _top5(scores_NC: Scores, labels: Labels, ignored: Bools | None) -> Statistic:
    return Mean(_five(scores_NC, labels, ignored, "top5") < 5)


def _both(scores_NC: Scores, labels: Labels, ignored: Bools | None) -> Statistic:
    rank_N = _five(scores_NC, labels, ignored, "top1_top5_mean")
    return Mean(((rank_N < 1).astype(np.float64) + (rank_N < 5)) / 2)


def _five(scores_NC: Scores, labels: Labels, ignored: Bools | None, needs: str) -> Ints:
    rank_N = single_ranks(scores_NC, labels, ignored, needs)
    if scores_NC.shape[1] <= 5:
        raise RequestError(
            f"{needs} needs more than 5 classes: of {scores_NC.shape[1]}, each would be among the best 5"
        )
    return rank_N


def _mean_per_class(scores_NC: Scores, labels: Labels, ignored: Bools | None) -> Statistic:
    right_N = single_ranks(scores_NC, labels, ignored, "mean_per_class") < 1
    return MeanPerClass(right_N, labels.astype(np.int64, copy=False), scores_NC.shape[1])


def _map(scores_NC: Scores, labels: Labels, ignored: Bools | None) -> Statistic:
    return AveragePrecision(*_one_against_rest(scores_NC, labels, ignored))


def _map11(scores_NC: Scores, labels: Labels, ignored: Bools | None) -> Statistic:
    return ElevenPoints(*_one_against_rest(scores_NC, labels, ignored))


def _roc_auc(scores_NC: Scores, labels: Labels, ignored: Bools | None) -> Statistic:
    """Of two classes: of the second against the first, by the difference of their scores."""
    if labels.ndim == 1 and scores_NC.ndim == 2 and scores_NC.shape[1] == 2:
        check(scores_NC, labels, ignored)
        wide = scores_NC.astype(np.float64)
        return RocAuc(wide[:, 1:] - wide[:, :1], labels[:, None] == 1)
    return RocAuc(*_one_against_rest(scores_NC, labels, ignored))


def _one_against_rest(scores_NC: Scores, labels: Labels, ignored: Bools | None) -> tuple[Scores, Bools, Bools | None]:
    check(scores_NC, labels, ignored)
    positive_NC = labels if labels.ndim == 2 else labels[:, None] == np.arange(scores_NC.shape[1])
    return scores_NC, positive_NC.astype(np.bool_, copy=False), None if ignored is None else ~ignored


def _class_by_class(metric: str, statistic: Statistic) -> Mean:
    if not isinstance(statistic, ClassMean):
        raise RequestError(f"{metric} is no mean over classes: its interval cannot be one over classes")
    values_C = statistic.of_classes(np.ones((statistic.n, 1)))[:, 0]
    return Mean(values_C[~np.isnan(values_C)])


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("top1", _top1, share=True),
        Metric("top5", _top5, share=True),
        Metric("mean_per_class", _mean_per_class),
        Metric("map11", _map11),
        Metric("map", _map),
        Metric("roc_auc", _roc_auc),
        Metric("top1_top5_mean", _both),
    )
}
"""By name. top1, top5: accuracy; mean_per_class: the unweighted mean of the classes' recalls; map11: PASCAL VOC 2007's
mean over classes of the precision at 11 recalls; map: of the average precision at all points; roc_auc: of two classes,
or the mean over the classes of a multi-label test, each against the rest; top1_top5_mean: Kinetics' mean of both."""

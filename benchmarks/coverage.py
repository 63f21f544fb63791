"""How often the 95 % intervals of `sightword.evaluation` hold the truth: simulated experiments whose truth is known.

    .venv/bin/python benchmarks/coverage.py [--experiments 1000] [--only NAME] [--others] [--json FILE]

Each experiment draws a test of n samples, measures it, and asks whether the interval holds the value of the population:
for shares and means per class what they were drawn with, for AUC the normal distribution's, for average precision that
of 2,000,000 samples. `--others` does the same with percentile and BC intervals from the same resamples, for the choice
that `evaluation/bootstrap.py` made. Needs nothing but the library; all of it takes some five minutes of an idle
core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np

from sightword.evaluation.bootstrap import RESAMPLES, bootstrap, resample
from sightword.evaluation.intervals import wilson
from sightword.evaluation.selective import RiskArea
from sightword.evaluation.weighted import (
    AveragePrecision,
    Difference,
    ElevenPoints,
    Floats,
    Mean,
    MeanPerClass,
    RocAuc,
    Statistic,
)

NORMAL = NormalDist()
Ends = tuple[float, float]


@dataclass(frozen=True)
class Experiment:
    """draw: a test; groups: of its samples, by number, where there are any."""

    truth: float
    draw: Callable[[np.random.Generator], Statistic]
    groups: tuple[str, ...] = ()
    share: bool = False


def share(truth: float, n: int, by_wilson: bool) -> Experiment:
    return Experiment(truth, lambda rng: Mean(rng.random(n) < truth), share=by_wilson)


def clusters(truth: float, groups: int, size: int) -> Experiment:
    """Videos of `size` frames each, which are right or wrong together for the most part."""

    def draw(rng: np.random.Generator) -> Statistic:
        common, own = rng.random((groups, 1)) < truth, rng.random((groups, size)) < truth
        return Mean(np.where(rng.random((groups, size)) < 0.7, common, own).ravel())

    return Experiment(truth, draw, tuple(str(group) for group in range(groups) for _ in range(size)))


def per_class(counts: list[int], recalls: list[float]) -> Experiment:
    labels, chance = np.repeat(np.arange(len(counts)), counts), np.repeat(recalls, counts)
    return Experiment(
        float(np.mean(recalls)), lambda rng: MeanPerClass(rng.random(len(labels)) < chance, labels, len(counts))
    )


def auc(positives: int, negatives: int, apart: float) -> Experiment:
    truth_N = np.arange(positives + negatives) < positives
    return Experiment(
        NORMAL.cdf(apart / 2**0.5),
        lambda rng: RocAuc((rng.normal(size=len(truth_N)) + apart * truth_N)[:, None], truth_N[:, None]),
    )


def precision(kind: type[AveragePrecision] | type[ElevenPoints], n: int, classes: int, rate: float) -> Experiment:
    def draw(rng: np.random.Generator, n: int = n, classes: int = classes) -> Statistic:
        truth_NC = rng.random((n, classes)) < rate
        return kind(rng.normal(size=(n, classes)) + 1.5 * truth_NC, truth_NC)

    return Experiment(draw(np.random.default_rng(1), 2_000_000, 1).value, draw)


def paired(n: int) -> Experiment:
    """A second model that is right 4 points more often, on mostly the same samples."""

    def draw(rng: np.random.Generator) -> Statistic:
        first = rng.random(n) < 0.7
        second = np.where(rng.random(n) < 0.8, first, rng.random(n) < 0.9)
        return Difference(Mean(second), Mean(first))

    return Experiment(0.2 * (0.9 - 0.7), draw)


def risk_area(n: int) -> Experiment:
    """A confidence that is the chance of being right, uniform: of the most confident c, c / 2 are wrong."""

    def draw(rng: np.random.Generator) -> Statistic:
        confidence = rng.random(n)
        return RiskArea(confidence, rng.random(n) < confidence)

    return Experiment(0.25, draw)


EXPERIMENTS: dict[str, Callable[[], Experiment]] = {
    "accuracy 0.3, n 200, Wilson": lambda: share(0.3, 200, True),
    "accuracy 0.9, n 500, Wilson": lambda: share(0.9, 500, True),
    "accuracy 0.3, n 200": lambda: share(0.3, 200, False),
    "accuracy 0.9, n 500": lambda: share(0.9, 500, False),
    "accuracy 0.7, 60 groups of 8": lambda: clusters(0.7, 60, 8),
    "mean per class, 10 of 20": lambda: per_class([20] * 10, np.linspace(0.3, 0.95, 10).tolist()),
    "mean per class, 40 of 10": lambda: per_class([10] * 40, np.linspace(0.3, 0.95, 40).tolist()),
    "mean per class, uneven": lambda: per_class([5, 8, 12, 20, 40, 80, 100], [0.9, 0.5, 0.7, 0.8, 0.6, 0.9, 0.4]),
    "AUC 0.76, 100 + 100": lambda: auc(100, 100, 1.0),
    "AUC 0.86, 40 + 160": lambda: auc(40, 160, 1.5),
    "AUC 0.98, 150 + 150": lambda: auc(150, 150, 3.0),
    "mAP, n 400, 10 classes": lambda: precision(AveragePrecision, 400, 10, 0.15),
    "mAP, n 500, 20 classes": lambda: precision(AveragePrecision, 500, 20, 0.1),
    "11-point mAP, n 400, 10 classes": lambda: precision(ElevenPoints, 400, 10, 0.15),
    "11-point mAP, n 500, 20 classes": lambda: precision(ElevenPoints, 500, 20, 0.1),
    "difference of accuracies, n 400": lambda: paired(400),
    "area under risk-coverage, n 500": lambda: risk_area(500),
}


def ours(experiment: Experiment, statistic: Statistic, seed: int, resamples: int) -> Ends:
    if experiment.share:
        return wilson(round(statistic.value * statistic.n), statistic.n)
    estimate = bootstrap(statistic, experiment.groups, seed, resamples)
    return estimate.low, estimate.high


def percentile(experiment: Experiment, statistic: Statistic, seed: int, resamples: int) -> Ends:
    low, high = np.quantile(replicates(experiment, statistic, seed, resamples), [0.025, 0.975])
    return float(low), float(high)


def bias_corrected(experiment: Experiment, statistic: Statistic, seed: int, resamples: int) -> Ends:
    values = replicates(experiment, statistic, seed, resamples)
    below = ((values < statistic.value).mean() + (values <= statistic.value).mean()) / 2
    shift = 2 * NORMAL.inv_cdf(min(max(float(below), 0.5 / len(values)), 1 - 0.5 / len(values)))
    low, high = np.quantile(values, [NORMAL.cdf(shift - 1.96), NORMAL.cdf(shift + 1.96)])
    return float(low), float(high)


def replicates(experiment: Experiment, statistic: Statistic, seed: int, resamples: int) -> Floats:
    values = resample(statistic, experiment.groups, seed, resamples)[0]
    return values[~np.isnan(values)]


METHODS = {"sightword": ours, "percentile": percentile, "BC": bias_corrected}


def coverage(
    experiment: Experiment, experiments: int, resamples: int = RESAMPLES, method: str = "sightword", seed: int = 0
) -> float:
    """The share of the experiments whose interval holds the truth."""
    rng = np.random.default_rng(seed)
    held = 0
    for number in range(experiments):
        low, high = METHODS[method](experiment, experiment.draw(rng), number, resamples)
        held += low <= experiment.truth <= high
    return held / experiments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--only", default="", help="those whose name begins so")
    parser.add_argument("--others", action="store_true", help="percentile and BC too")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    methods = list(METHODS) if given.others else ["sightword"]
    print(f"{'%, of ' + format(given.experiments, ',') + ' experiments':36}" + "".join(f"{m:>12}" for m in methods))
    found: dict[str, dict[str, float]] = {}
    for name, make in EXPERIMENTS.items():
        if name.startswith(given.only):
            experiment = make()
            used = ["sightword"] if experiment.share else methods
            found[name] = {method: coverage(experiment, given.experiments, method=method) for method in used}
            print(f"{name:36}" + "".join(f"{100 * held:12.1f}" for held in found[name].values()), flush=True)
    if given.json:
        given.json.write_text(json.dumps({"experiments": given.experiments, "coverage": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Which classes a model is good at, and for what it takes the others. Shapes: N samples, C classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sightword.errors import RequestError
from sightword.evaluation.intervals import wilson
from sightword.evaluation.metrics import Labels, Scores, single_ranks


@dataclass(frozen=True, slots=True)
class ClassAccuracy:
    """Of the n samples of a class the share that is right (top 1), with Wilson's 95 % interval."""

    name: str
    value: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Confusion:
    """`count` of the n samples of a class were taken for another."""

    true: str
    predicted: str
    count: int
    n: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def class_accuracies(scores_NC: Scores, labels: Labels, classes: Sequence[str]) -> list[ClassAccuracy]:
    """In the order of the classes; those without a sample are left out."""
    _check_names(scores_NC, classes)
    right_N = single_ranks(scores_NC, labels, needs="the accuracy of a class") < 1
    of_C = np.bincount(labels, minlength=len(classes))
    right_C = np.bincount(labels[right_N], minlength=len(classes))
    return [
        ClassAccuracy(name, int(right) / int(n), *wilson(int(right), int(n)), int(n))
        for name, right, n in zip(classes, right_C, of_C, strict=True)
        if n
    ]


def confusions(scores_NC: Scores, labels: Labels, classes: Sequence[str]) -> list[Confusion]:
    """The confusion matrix off its diagonal, without its zeros; most frequent first, then in the order of the classes.

    A sample is taken for the class that scores best, and where its own is among several best, for another of them: a
    tie never flatters.
    """
    _check_names(scores_NC, classes)
    wrong_N = np.flatnonzero(single_ranks(scores_NC, labels, needs="a confusion") >= 1)
    others_NC = np.maximum(scores_NC[wrong_N].astype(np.float64), np.finfo(np.float64).min)
    true_N = labels[wrong_N].astype(np.int64)
    others_NC[np.arange(len(wrong_N)), true_N] = -np.inf
    of_C = np.bincount(labels, minlength=len(classes))
    cells, counts = np.unique(true_N * len(classes) + others_NC.argmax(axis=1), return_counts=True)
    return [
        Confusion(
            classes[cell // len(classes)], classes[cell % len(classes)], int(count), int(of_C[cell // len(classes)])
        )
        for cell, count in sorted(
            zip(cells.tolist(), counts.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0])
        )
    ]


def _check_names(scores_NC: Scores, classes: Sequence[str]) -> None:
    if scores_NC.ndim != 2 or scores_NC.shape[1] != len(classes):
        raise RequestError(f"scores {list(scores_NC.shape)} and {len(classes)} classes: need [N, {len(classes)}]")

"""Every metric against scikit-learn, clip-benchmark and torchmetrics on the same scores; ties, classes without samples,
labels that do not count; wrong scores and labels."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.peers import declare_operators
from sightword.errors import RequestError
from sightword.evaluation.confusion import class_accuracies, confusions
from sightword.evaluation.metrics import METRICS, measure, ranks

Case = tuple[NDArray[Any], NDArray[Any]]


def single(n: int = 400, classes: int = 12, seed: int = 0) -> Case:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    scores = rng.normal(size=(n, classes)).astype(np.float32)
    scores[np.arange(n), labels] += 1.5
    return scores, labels


def multi(n: int = 300, classes: int = 8, seed: int = 0, grain: float = 0.0) -> Case:
    """grain: scores are rounded to it, so that many are equal."""
    rng = np.random.default_rng(seed)
    labels = rng.random((n, classes)) < np.linspace(0.05, 0.5, classes)
    scores = rng.normal(size=(n, classes)) + labels
    return (np.round(scores / grain) * grain if grain else scores), labels


@pytest.fixture(scope="module")
def clip_benchmark() -> Any:
    return pytest.importorskip("clip_benchmark.metrics.zeroshot_classification")


@pytest.fixture(scope="module")
def torchmetrics() -> Any:
    declare_operators()
    return pytest.importorskip("torchmetrics.functional.classification")


def value(metric: str, *case: Any) -> float:
    return METRICS[metric](*case)


# Against what others compute.


def test_accuracies_are_those_of_scikit_learn():
    scores, labels = single()
    top1, top5 = (reference.top_k_accuracy_score(labels, scores, k=k) for k in (1, 5))
    assert value("top1", scores, labels) == pytest.approx(top1, abs=1e-9)
    assert value("top5", scores, labels) == pytest.approx(top5, abs=1e-9)
    assert value("top1_top5_mean", scores, labels) == pytest.approx((top1 + top5) / 2, abs=1e-9)
    balanced = reference.balanced_accuracy_score(labels, scores.argmax(axis=1))
    assert value("mean_per_class", scores, labels) == pytest.approx(balanced, abs=1e-9)


@pytest.mark.parametrize("grain", [0.0, 0.5])
def test_map_and_auc_are_those_of_scikit_learn_with_ties_too(grain: float):
    scores, labels = multi(grain=grain)
    assert value("map", scores, labels) == pytest.approx(reference.average_precision_score(labels, scores), abs=1e-9)
    assert value("roc_auc", scores, labels) == pytest.approx(reference.roc_auc_score(labels, scores), abs=1e-9)


def test_two_classes_of_zero_shot_scores_give_one_auc():
    scores, labels = single(classes=2)
    softmax = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    expected = reference.roc_auc_score(labels, softmax[:, 1])
    assert value("roc_auc", softmax, labels) == pytest.approx(expected, abs=1e-6)
    assert value("roc_auc", scores, labels) == pytest.approx(expected, abs=1e-6), "logits give the same order"


def test_one_label_of_many_classes_is_each_against_the_rest():
    scores, labels = single(classes=4)
    rows = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    expected = reference.roc_auc_score(labels, rows, multi_class="ovr")
    assert value("roc_auc", rows, labels) == pytest.approx(expected, abs=1e-6)


def test_clip_benchmark_agrees(clip_benchmark: Any, monkeypatch: pytest.MonkeyPatch):
    # It makes floats of arrays with one element, which numpy no longer does.
    monkeypatch.setattr(clip_benchmark, "float", lambda array: array.item(), raising=False)
    scores, labels = single()
    top1, top5 = clip_benchmark.accuracy(torch.tensor(scores), torch.tensor(labels), topk=(1, 5))
    assert value("top1", scores, labels) == pytest.approx(top1, abs=1e-6)
    assert value("top5", scores, labels) == pytest.approx(top5, abs=1e-6)
    scores, labels = multi()
    theirs = clip_benchmark.average_precision_per_class(torch.tensor(scores), torch.tensor(labels)).mean().item()
    assert value("map", scores, labels) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("grain", [0.0, 0.5])
def test_torchmetrics_agrees(torchmetrics: Any, grain: float):
    scores, labels = single()
    for metric, average in (("top1", "micro"), ("mean_per_class", "macro")):
        theirs = torchmetrics.multiclass_accuracy(
            torch.tensor(scores), torch.tensor(labels), num_classes=12, average=average
        )
        assert value(metric, scores, labels) == pytest.approx(float(theirs), abs=1e-6)
    scores, labels = multi(grain=grain)
    # It would take a sigmoid of what lies outside 0 … 1, and lose digits.
    case = torch.tensor((scores - scores.min()) / np.ptp(scores)), torch.tensor(labels).long(), 8
    assert value("map", scores, labels) == pytest.approx(
        float(torchmetrics.multilabel_average_precision(*case)), abs=1e-6
    )
    assert value("roc_auc", scores, labels) == pytest.approx(float(torchmetrics.multilabel_auroc(*case)), abs=1e-6)


def voc_eleven_points(scores: NDArray[Any], truth: NDArray[Any]) -> float:
    """VOCevalcls.m of the development kit, line by line: truth 1, -1, or 0 for difficult."""
    order = np.argsort(-scores, kind="stable")
    tp, fp = np.cumsum(truth[order] > 0), np.cumsum(truth[order] < 0)
    recall, precision = tp / (truth > 0).sum(), tp / np.maximum(tp + fp, 1)
    points = [max([0.0, *precision[recall >= tenth / 10 - 1e-12].tolist()]) for tenth in range(11)]
    return float(np.sum(points) / 11)


@pytest.mark.parametrize("seed", range(5))
def test_eleven_points_are_those_of_the_development_kit(seed: int):
    scores, labels = multi(n=90, seed=seed)
    ignored = np.random.default_rng(seed + 1).random(labels.shape) < 0.2
    truth = np.where(ignored, 0, np.where(labels, 1, -1))
    expected = np.mean([voc_eleven_points(scores[:, c], truth[:, c]) for c in range(8)])
    assert value("map11", scores, labels, ignored) == pytest.approx(expected, abs=1e-9)
    for metric in ("map", "roc_auc"):
        of_class: Callable[..., float] = {"map": reference.average_precision_score, "roc_auc": reference.roc_auc_score}[
            metric
        ]
        expected = np.mean(
            [of_class(labels[~ignored[:, c], c], scores[~ignored[:, c], c]) for c in range(8)], dtype=np.float64
        )
        assert value(metric, scores, labels, ignored) == pytest.approx(expected, abs=1e-9)


def test_a_recall_of_three_tenths_counts_as_reached():
    # Ten positives; three first, then a mistake, then the rest. By floats 3 / 10 is less than 3 * 0.1.
    truth = np.array([1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1], dtype=bool)
    expected = (4 + 7 * 10 / 11) / 11
    assert value("map11", np.arange(11, 0, -1.0)[:, None], truth[:, None]) == pytest.approx(expected, abs=1e-12)


# Ties, and classes without samples.


@given(st.integers(2, 9), st.integers(1, 30), st.integers(0, 99))
def test_a_model_that_cannot_tell_has_nothing_right(classes: int, n: int, seed: int):
    labels = np.random.default_rng(seed).integers(0, classes, n)
    scores = np.zeros((n, classes), dtype=np.float32)
    assert value("top1", scores, labels) == 0
    assert value("mean_per_class", scores, labels) == 0
    assert (ranks(scores, labels) == classes - 1).all()


def test_ties_in_rankings_are_one_step():
    labels = np.array([[True], [False], [False], [True]])
    same = np.zeros((4, 1))
    assert value("map", same, labels) == value("map11", same, labels) == value("roc_auc", same, labels) == 0.5
    assert value("map", same, labels[::-1]) == 0.5, "their order is nobody's merit"


def test_classes_without_samples_or_positives_are_left_out():
    scores, labels = single(classes=6)
    kept = labels != 3
    balanced = np.mean([(scores[labels == c].argmax(axis=1) == c).mean() for c in (0, 1, 2, 4, 5)])
    assert value("mean_per_class", scores[kept], labels[kept]) == pytest.approx(balanced)
    scores, labels = multi()
    labels[:, 2] = False
    others = np.arange(8) != 2
    for metric in ("map", "map11", "roc_auc"):
        assert value(metric, scores, labels) == pytest.approx(value(metric, scores[:, others], labels[:, others]))
    labels[:, 4] = True
    others[4] = False
    assert value("roc_auc", scores, labels) == pytest.approx(value("roc_auc", scores[:, others], labels[:, others]))


# With intervals.


def test_measuring_loads_no_torch():
    rooms = "sightword.evaluation.comparison, sightword.evaluation.selective, sightword.labels.prompt_choice"
    program = f"import sys, {rooms}; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_shares_have_wilsons_interval_and_others_a_bootstrap():
    scores, labels = single()
    for metric in METRICS:
        measured = measure(metric, scores, labels)
        assert measured.interval == ("wilson" if metric in ("top1", "top5") else "bootstrap")
        assert 0 <= measured.low < measured.value < measured.high <= 1
        assert measured.n == 400
        assert measured == measure(metric, scores, labels), "the same seed gives the same interval"
        assert json.loads(json.dumps(measured.to_json()))["metric"] == metric


def test_groups_and_classes_can_be_what_is_drawn():
    scores, labels = single(n=60)
    videos = [f"video {i}" for i in range(60) for _ in range(10)]
    frames, truth = np.repeat(scores, 10, axis=0), np.repeat(labels, 10)
    alone, together = measure("top1", frames, truth), measure("top1", frames, truth, groups=videos)
    assert together.interval == "cluster bootstrap"
    assert together.high - together.low > 2.5 * (alone.high - alone.low), "600 frames are 60 videos"
    once = measure("top1", scores, labels)
    assert together.high - together.low == pytest.approx(once.high - once.low, rel=0.15)
    by_class = measure("mean_per_class", scores, labels, over_classes=True)
    assert by_class.interval == "bootstrap over classes"
    assert by_class.low < by_class.value < by_class.high


def test_all_right_is_not_certain():
    scores, labels = single()
    scores[np.arange(len(labels)), labels] += 20
    for metric in ("mean_per_class", "map", "roc_auc", "top1_top5_mean"):
        measured = measure(metric, scores, labels)
        assert measured.value == measured.high == 1
        assert 0.8 < measured.low < 0.995


# Wrong input.

GOOD = single(n=6, classes=7)


@pytest.mark.parametrize(
    ("metric", "scores", "labels", "ignored", "message"),
    [
        ("top2", *GOOD, None, "no metric; there are top1, top5"),
        ("top1", GOOD[0], GOOD[1][:5], None, r"scores \[6, 7\] and 5 labels"),
        ("top1", np.zeros((0, 3)), np.zeros(0, dtype=np.int64), None, "no samples"),
        ("top1", GOOD[0], GOOD[1] + 7, None, "outside the 7 classes"),
        ("top1", GOOD[0], GOOD[1] * 1.0, None, "number of a class"),
        ("top1", GOOD[0] * np.nan, GOOD[1], None, "6 of 6 samples have NaN"),
        ("top1", GOOD[0], GOOD[0] > 0, None, "multi-label: use map"),
        ("map", GOOD[0], (GOOD[0] > 0)[:, :3], None, r"needs \[6, 7\] of bool"),
        ("map", GOOD[0], GOOD[0] > 0, np.zeros((6, 2), dtype=bool), r"ignored \[6, 2\]"),
        ("top1", GOOD[0], GOOD[1], np.zeros((6, 7), dtype=bool), "only a multi-label test"),
        ("top5", GOOD[0][:, :5], GOOD[1] % 5, None, "more than 5 classes"),
        ("map", GOOD[0], np.zeros((6, 7), dtype=bool), None, "no class has what the metric needs"),
        ("roc_auc", GOOD[0][:, :2], np.zeros(6, dtype=np.int64), None, "no class has what the metric needs"),
    ],
)
def test_wrong_input_is_named(metric: str, scores: Any, labels: Any, ignored: Any, message: str):
    with pytest.raises(RequestError, match=message):
        measure(metric, scores, labels, ignored)


def test_other_wrong_requests_are_named():
    with pytest.raises(RequestError, match="no class has what it needs"):
        METRICS["map"](GOOD[0], np.zeros((6, 7), dtype=bool))
    with pytest.raises(RequestError, match="no mean over classes"):
        measure("top1", *GOOD, over_classes=True)
    with pytest.raises(RequestError, match="over groups or over classes"):
        measure("mean_per_class", *GOOD, groups=["a"] * 6, over_classes=True)
    with pytest.raises(RequestError, match="2 groups for 6 samples"):
        measure("top1", *GOOD, groups=["a", "b"])


# Classes and confusions.


def test_confusions_are_the_matrix_off_its_diagonal():
    scores, labels = single()
    names = [f"class {c}" for c in range(12)]
    matrix = reference.confusion_matrix(labels, scores.argmax(axis=1))
    found = confusions(scores, labels, names)
    assert [pair.count for pair in found] == sorted((pair.count for pair in found), reverse=True)
    ours = np.diag(np.diag(matrix))
    for pair in found:
        row = names.index(pair.true)
        ours[row, names.index(pair.predicted)] = pair.count
        assert pair.n == matrix[row].sum()
    assert (ours == matrix).all()
    for accuracy, row, hits in zip(class_accuracies(scores, labels, names), matrix, np.diag(matrix), strict=True):
        assert (accuracy.value, accuracy.n) == (hits / row.sum(), row.sum())
        assert accuracy.low < accuracy.value < accuracy.high


def test_a_tie_is_a_confusion_with_the_other_class():
    scores, labels = np.array([[1.0, 1.0, 0.0], [-np.inf, -np.inf, -np.inf]]), np.array([0, 0])
    found = confusions(scores, labels, ["a", "b", "c"])
    assert [(pair.true, pair.predicted, pair.count, pair.n) for pair in found] == [("a", "b", 2, 2)]
    assert [row.name for row in class_accuracies(scores, labels, ["a", "b", "c"])] == ["a"]
    with pytest.raises(RequestError, match="2 classes"):
        confusions(scores, labels, ["a", "b"])
    with pytest.raises(RequestError, match="multi-label"):
        confusions(scores, scores > 0, ["a", "b", "c"])

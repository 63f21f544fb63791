"""What records say together: there where the data for it is, and by what it should be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sightword.evaluation.across import difficulties, scaling, worths
from sightword.evaluation.across_charts import across_charts
from sightword.evaluation.difficulty import class_accuracy, spearman
from sightword.evaluation.records import Record
from sightword.evaluation.rows import share_row

CLASSES, EACH = 20, 12


def record(model: str, parameters: int, error: float, seed: int = 0, **more: Any) -> Record:
    """Of a model that finds the later classes harder."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES), EACH)
    wrong = rng.random(len(labels)) < 2 * error * labels / (CLASSES - 1)
    value = 1 - error
    row = share_row("d", "test", "plain", "top1", round(value * 1000), 1000, CLASSES)
    return Record(
        model={"name": model, "fingerprint": f"sha256:{model}", "parameters": parameters, "seen": None, **more},
        data={"name": "d", "title": "d", "fingerprint": "bytes:1", "classes": CLASSES},
        task="zero-shot",
        settings={"prompts": {"plain": ["{}"]}, "metrics": ["top1"], "seed": 0},
        rows=(replace(row, prompt="bare", value=0.5), row),
        outcomes={"labels": labels, "rank plain": wrong.astype(np.int32)},
    )


def few_shot(model: str, data: str, zero_shot: float, parameters: int = 1000) -> Record:
    runs = [{"shots": k, "seed": s, "value": 0.2 + 0.1 * i} for i, k in enumerate((1, 2, 4, 8, 16)) for s in (1, 2, 3)]
    made = record(model, parameters, 0.3)
    curve = {"zero_shot": zero_shot, "n_test": 1000, "runs": runs}
    return replace(made, task="few-shot", data={**made.data, "name": data}, details={"few_shot": curve}, rows=())


def test_whether_the_same_classes_are_hard():
    one, two = record("a", 10, 0.4, seed=1), record("b", 10, 0.4, seed=2)
    (found,) = difficulties([one, two])
    x, y = (class_accuracy(r.outcomes["rank plain"] < 1, r.outcomes["labels"], CLASSES) for r in (one, two))
    assert found.agreements[0].spearman.value == pytest.approx(spearman(x, y))
    assert found.agreements[0].models == ("a", "b")
    assert found.halves is not None
    assert 0 < (found.halves.spearman.value or 0) < 1
    assert difficulties([one]) == []
    assert difficulties([one, replace(two, settings={})]) == [], "other settings are another test"
    all_right = replace(two, outcomes={**two.outcomes, "rank plain": np.zeros(CLASSES * EACH, np.int32)})
    assert difficulties([one, all_right]) == [], "a model that finds no class harder orders none"


def test_error_by_size():
    sizes = {"c": 4000, "a": 1000, "b": 2000}
    records = [record(name, size, 0.4 * (size / 1000) ** -0.5) for name, size in sizes.items()]
    found = scaling(records)
    assert found is not None
    assert found.models == ("a", "b", "c")
    assert (found.size, found.tests) == ("parameters", ("d",))
    assert found.law.exponent.value == pytest.approx(-0.5, abs=0.01)
    # Where all of them say how many pictures they saw, that counts.
    seen = [replace(one, model={**one.model, "seen": 5}) for one in records]
    found = scaling(seen)
    assert found is not None
    assert found.size == "parameters × training pictures"
    assert found.law.compute == (5000, 10000, 20000)
    assert scaling(records[:2]) is None
    assert scaling([record(name, 1000, 0.2) for name in "abc"]) is None, "one size"
    assert scaling([*records[:2], record("e", 9000, 0.0)]) is None, "no error has no logarithm"
    other = replace(records[2], data={**records[2].data, "fingerprint": "bytes:2"})
    assert scaling([*records[:2], other]) is None, "of other pictures"


def test_what_the_zero_shot_head_is_worth():
    (found,) = worths([few_shot("a", "one", 0.35), few_shot("a", "two", 0.9)])
    one, two = found.shots.data_sets["one"], found.shots.data_sets["two"]
    assert one.amount.value == pytest.approx(2 * 2**0.5)
    assert two.bound == ">"
    assert worths([record("a", 10, 0.3)]) == []


def test_each_has_a_figure_and_says_it_in_words():
    pytest.importorskip("matplotlib")
    sized = [
        record(n, size, 0.4 * (size / 1000) ** -0.5, seed=size) for n, size in (("$a", 1000), ("b", 2000), ("c", 4000))
    ]
    few = [few_shot("$a", "one", 0.1), few_shot("$a", "two", 0.35), few_shot("b", "one", 0.9, 2000)]
    charts = across_charts([*sized, *few])
    assert [chart.title for chart in charts] == [
        "Are the same classes hard? d",
        "Error by size",
        "What the zero-shot head is worth",
    ]
    assert all(chart.svg.startswith(b"<?xml") for chart in charts)
    hard, size, worth = (chart.caption for chart in charts)
    assert "$a and b 0." in hard
    assert "exponent −0.5" in size
    assert "leaves 0.3" in size
    assert "$a: 1.91 of each class in the median of 2 data sets; b: more than 16 of each class" in worth
    assert across_charts([sized[0]]) == []

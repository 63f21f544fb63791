"""Records say with what they were made; what was measured otherwise is not shown, other versions are told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from sightword import __version__
from sightword.cli import run as command
from sightword.errors import RequestError
from sightword.evaluation.compare import compare_all
from sightword.evaluation.environment import environment, remarks, versions
from sightword.evaluation.records import METHODS, Record, Results
from sightword.evaluation.rows import share_row
from sightword.evaluation.runner import Subject, evaluate, kept
from sightword.evaluation.suites import find_data
from sightword.evaluation.tasks import TASKS
from sightword.model import Model
from tests.conftest import make_picture

HERE = {**versions(), "device": "a processor", "precision": "fp32", "date": "2026-11-22T12:00:00+00:00"}


def made(name: str = "a", **changed: object) -> Record:
    """As a version that is this one makes it."""
    settings = {"prompts": {"plain": ["{}"]}, "metrics": ["top1"], "seed": 0}
    data = {"name": "shapes", "fingerprint": "bytes:1", "classes": 2, "unreadable": []}
    record = Record(
        model={"name": name, "fingerprint": f"sha256:{name}", "parameters": 1},
        data=data,
        task="zero-shot",
        settings=settings,
        rows=(share_row("shapes", "test", "plain", "top1", 3, 4, 2),),
        outcomes={"labels": np.array([0, 1, 0, 1]), "rank plain": np.array([0, 0, 0, 1], np.int32)},
        environment=HERE,
    )
    return replace(record, **changed)  # type: ignore[arg-type]


def test_what_is_said_is_what_is_here(model: Model):
    said = environment(model)
    assert said["sightword"] == __version__
    assert said["torch"].split("+")[0].count(".") == 2
    assert (said["precision"], said["date"][:2]) == ("fp32", "20")
    assert said["device"]
    assert {"numpy", "python"} <= said.keys()
    assert METHODS.keys() <= TASKS.keys()


def test_records_of_this_version_need_no_remark():
    assert remarks([made(), made("b")]) == ()


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({**HERE, "torch": "2.0.0"}, "made with torch 2.0.0, and here is"),
        ({**HERE, "sightword": "0.0.1"}, "made with sightword 0.0.1, and here is"),
        ({}, "a version that was not noted"),
        ({**HERE, "device": "another"}, "several devices: a processor; another"),
        ({**HERE, "precision": "bf16"}, "several precisions: bf16; fp32"),
    ],
)
def test_other_versions_are_shown_with_a_remark(environment: dict[str, str], words: str):
    both = [made(), made("b", environment=environment)]
    assert words in " ".join(remarks(both))
    assert len(compare_all(both)) == 1, "and they are compared all the same"


def test_what_was_measured_otherwise_is_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    results, old = Results(tmp_path / "out"), made("old", method=0)
    results.save(old)
    with pytest.raises(RequestError, match=r"one record \(zero-shot of old on shapes\) was measured in another way"):
        kept(results)
    results.save(made())
    found = kept(results)
    assert [record.model["name"] for record in found.records] == ["a"]
    assert "Results of other versions" in found.remarks[0]
    assert found.to_json()["remarks"] == list(found.remarks)
    assert command(["evaluate", "--compare", "--out", str(results.folder)]) == 0
    assert "evaluate again, and they are replaced" in capsys.readouterr().out
    with pytest.raises(RequestError, match="results of other versions: zero-shot of old"):
        compare_all([made(), old])
    results.write_table()
    (line,) = pq.read_table(results.folder / "results.parquet").to_pylist()
    assert (line["model"], line["sightword"], line["precision"]) == ("a", __version__, "fp32")


def test_it_is_measured_again_in_its_place(model: Model, tmp_path: Path):
    for number, name in enumerate(("circle", "star")):
        (tmp_path / "shapes" / name).mkdir(parents=True)
        make_picture(20, 20, seed=number).save(tmp_path / "shapes" / name / "1.png")
    subjects, wanted, results = [Subject("a", model, 1)], find_data([str(tmp_path / "shapes")], None), Results(tmp_path)
    (record,) = evaluate(subjects, wanted, results).records
    assert record.environment["sightword"] == __version__
    (file,) = (tmp_path / "records").glob("*.json")
    values = json.loads(file.read_text())
    # Of a version that noted nothing: in the same way, and so good as it is.
    for key in ("environment", "method"):
        del values[key]
    file.write_text(json.dumps(values))
    again = evaluate(subjects, wanted, results)
    assert again.reused == 1
    assert "not noted" in " ".join(again.remarks)
    file.write_text(json.dumps({**values, "method": 0}))
    again = evaluate(subjects, wanted, results)
    assert (again.reused, again.remarks) == (0, ())
    assert [one.name for one in Results(tmp_path).all()] == [record.name]
    assert not Results(tmp_path).all()[0].stale

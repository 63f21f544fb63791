"""Prompts chosen from the verb: on validation pictures alone, with what was chosen, on what, and a bound."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import sightword
from sightword.cli import run as command
from sightword.errors import RequestError
from sightword.evaluation.bounds import error_bound, subset_nats
from sightword.evaluation.records import Results
from sightword.evaluation.runner import Evaluation, Subject, evaluate
from sightword.evaluation.suites import choose_among, find_data, open_split
from sightword.evaluation.tasks import TASKS
from sightword.labels.prompts import GENERAL, read_templates
from sightword.labels.zero_shot import zero_shot_head
from sightword.model import Model
from tests.conftest import make_picture

CLASSES = ("circle", "square", "star")
TEMPLATES = ("{}", "a red {}", "the {}", "my {}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "shapes"
    for place, (split, count) in enumerate((("train", 12), ("validation", 6), ("test", 4))):
        for number, name in enumerate(CLASSES):
            (root / split / name).mkdir(parents=True)
            for one in range(count):
                picture = make_picture(24, 20, seed=1000 * place + 100 * number + one)
                picture.save(root / split / name / f"{split}{one}.png")
    (root.parent / "templates.txt").write_text("\n".join((*TEMPLATES, "", "{}")))
    return root


def chosen(model: Model, folder: Path, out: Path, templates: tuple[str, ...] = TEMPLATES) -> Evaluation:
    """The tests' model reads few words: the general templates are too long for it."""
    (out.parent / "templates.txt").write_text("\n".join(templates))
    wanted = choose_among(find_data([str(folder)], None), out.parent / "templates.txt")
    return evaluate([Subject("a", model, 1)], wanted, Results(out), also=["prompt-choice"])


def test_they_are_chosen_on_the_validation_pictures(model: Model, folder: Path, tmp_path: Path):
    plain, record = chosen(model, folder, tmp_path / "out").records
    assert (plain.task, record.task) == ("zero-shot", "prompt-choice")
    assert [(row.prompt, row.metric, row.n) for row in record.rows] == [("chosen", "top1", 12)]
    choice = record.details["choice"]
    assert (choice["chosen_on"], choice["n"], choice["candidates"]) == ("shapes, validation", 18, 4)
    assert tuple(record.settings["candidates"]) == TEMPLATES

    def right(split: str, templates: list[str]) -> tuple[int, int]:
        files = sorted((folder / split).rglob("*.png"))
        guesses = (model.embed_images(files) @ zero_shot_head(model, CLASSES, templates).T).argmax(axis=1)
        return sum(CLASSES[g] == f.parent.name for g, f in zip(guesses, files, strict=True)), len(files)

    # The first is the best alone, the row is of all that were chosen, and the bound of their errors where they were.
    hits = {template: right("validation", [template])[0] for template in TEMPLATES}
    assert hits[choice["templates"][0]] == max(hits.values())
    hits_there, n = right("validation", choice["templates"])
    assert choice["scores"][-1] == pytest.approx(hits_there / n)
    hits_test, n_test = right("test", choice["templates"])
    assert record.rows[0].value == pytest.approx(hits_test / n_test)
    nats = subset_nats(4, len(choice["templates"]))
    assert record.details["bound"] == error_bound(n - hits_there, n, nats).to_json()


def test_without_a_validation_split_it_says_what_it_did(model: Model, folder: Path, tmp_path: Path):
    shutil.copytree(folder, tmp_path / "shapes", ignore=shutil.ignore_patterns("validation"))
    record = chosen(model, tmp_path / "shapes", tmp_path / "out").records[1]
    assert "a fifth of the training pictures" in record.details["choice"]["remark"]
    assert 0 < record.details["choice"]["n"] < 36
    # Validation pictures are enough: nothing is trained.
    shutil.rmtree(tmp_path / "shapes/train")
    shutil.copytree(folder / "validation", tmp_path / "shapes/validation")
    assert chosen(model, tmp_path / "shapes", tmp_path / "out").records[1].details["choice"]["n"] == 18


def test_the_test_chooses_nothing(model: Model, folder: Path, tmp_path: Path):
    shutil.copytree(folder / "test", tmp_path / "shapes" / "test")
    found = chosen(model, tmp_path / "shapes", tmp_path / "out")
    assert [record.task for record in found.records] == ["zero-shot"]
    assert "prompt-choice: shapes" in str(found.missing[0])
    assert "no training pictures that something could be chosen on" in str(found.missing[0])


def test_other_choosing_pictures_are_another_record(model: Model, folder: Path, tmp_path: Path):
    shutil.copytree(folder, tmp_path / "shapes")
    assert chosen(model, tmp_path / "shapes", tmp_path / "out").reused == 0
    assert chosen(model, tmp_path / "shapes", tmp_path / "out").reused == 2
    (tmp_path / "shapes/validation/star/validation0.png").unlink()
    assert chosen(model, tmp_path / "shapes", tmp_path / "out").reused == 1
    assert chosen(model, tmp_path / "shapes", tmp_path / "out", TEMPLATES[:3]).reused == 1


def test_without_a_list_the_usual_prompts_and_general_ones_are_chosen_among(folder: Path):
    (wanted,) = choose_among(find_data([str(folder)], None), "choose")
    data = open_split(wanted.spec, wanted.root, "test")
    settings = TASKS["prompt-choice"].settings(wanted.spec, wanted.root, data, 0)
    assert settings["candidates"] == ["{}", "a photo of a {}.", *GENERAL]


def test_the_command(checkpoint: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out, file, page = tmp_path / "results", tmp_path / "found.json", tmp_path / "report.html"
    words = ["evaluate", str(checkpoint), "--suite", str(folder), "--out", str(out)]
    templates = str(folder.parent / "templates.txt")
    assert command([*words, "--prompts", templates, "--json", str(file), "--report", str(page)]) == 0
    written = json.loads(file.read_text())
    assert [row["prompt"] for row in written["results"]] == ["bare", "plain", "chosen"]
    assert "chosen" in capsys.readouterr().out
    shown = page.read_text(encoding="utf-8")
    assert "shapes, validation" in shown
    assert "PAC-Bayes" in shown
    found = sightword.evaluate([checkpoint], [str(folder)], out=out, prompts=templates)
    assert found.reused == 2
    assert command([*words, "--prompts", "chose"]) == 2
    assert "say `choose`" in capsys.readouterr().err


def test_a_file_without_a_place_for_the_name_is_refused(tmp_path: Path):
    file = tmp_path / "templates.txt"
    for content, message in (("a photo", "exactly one"), ("\n", "no prompt templates")):
        file.write_text(content)
        with pytest.raises(RequestError, match=rf"templates\.txt: .*{message}"):
            read_templates(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RequestError, match="no text in UTF-8"):
        read_templates(file)


def test_templates_are_read_once_each(tmp_path: Path):
    (tmp_path / "t").write_text(" a {} \n\n{}\na {}\n")
    assert read_templates(tmp_path / "t") == ("a {}", "{}")
    assert np.unique(GENERAL).size == len(GENERAL)

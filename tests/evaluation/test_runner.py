"""From a folder of pictures to figures: what is measured, kept, reused, compared and refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import sightword
from sightword.cli import run as command
from sightword.errors import RequestError, SightwordError
from sightword.evaluation.compare import compare_all, tabulate
from sightword.evaluation.comparison import in_words
from sightword.evaluation.records import Results
from sightword.evaluation.runner import Evaluation, Subject, evaluate
from sightword.evaluation.suites import find_data
from sightword.labels.zero_shot import zero_shot_head
from sightword.model import Model, _short_names
from tests.conftest import make_picture

CLASSES = ("circle", "square", "star")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve test and ninety training pictures of three classes."""
    root = tmp_path_factory.mktemp("data") / "shapes"
    for split, count in (("train", 30), ("test", 4)):
        for number, name in enumerate(CLASSES):
            (root / split / name).mkdir(parents=True)
            for one in range(count):
                seed = 100 * number + one + (50 if split == "test" else 0)
                make_picture(40, 36, seed=seed).save(root / split / name / f"{one}.png")
    return root


@pytest.fixture(scope="module")
def other(model: Model) -> Model:
    """Another model of the same kind."""
    torch.manual_seed(7)
    weights = {name: tensor + 0.2 * torch.randn_like(tensor) for name, tensor in model.model.state_dict().items()}
    made = type(model.model)(model.model.config)
    made.load_state_dict(weights)
    return Model(made, model.contract, model.tokenizer, device="cpu")


def measured(models: dict[str, Model], folder: Path, out: Path, *tasks: Any) -> Evaluation:
    subjects = [Subject(name, model, 1) for name, model in models.items()]
    return evaluate(subjects, find_data([str(folder)], None), Results(out), tasks)


def test_the_figures_are_those_of_the_head(model: Model, folder: Path, tmp_path: Path):
    found = measured({"a": model}, folder, tmp_path)
    (record,) = found.records
    files = sorted((folder / "test").rglob("*.png"))
    vectors = model.embed_images(files)
    for prompt, template in (("bare", "{}"), ("plain", "a photo of a {}.")):
        head = zero_shot_head(model, CLASSES, [template])
        guesses = (vectors @ head.T).argmax(axis=1)
        right = float(np.mean([CLASSES[guess] == file.parent.name for guess, file in zip(guesses, files, strict=True)]))
        (row,) = [row for row in record.rows if row.prompt == prompt]
        assert (row.metric, row.value, row.n, row.classes) == ("top1", pytest.approx(right), 12, 3)
        assert row.low < row.value < row.high or right in (0, 1)
    assert record.settings["prompts"] == {"bare": ["{}"], "plain": ["a photo of a {}."]}
    assert record.data["count"] == 12
    assert {one["name"] for one in record.details["plain"]["classes"]} == {*CLASSES}
    table = pq.read_table(tmp_path / "results.parquet").to_pylist()
    assert [(line["model"], line["data"], line["prompt"]) for line in table] == [
        ("a", "shapes", "bare"),
        ("a", "shapes", "plain"),
    ]


def test_what_was_measured_is_not_measured_again(
    model: Model, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first = measured({"a": model}, folder, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Model, "embed_images", lambda *_, **__: pytest.fail("embedded again"))
        again = measured({"a": model}, folder, tmp_path)
    assert (first.reused, again.reused) == (0, 1)
    assert [row.to_json() for row in again.records[0].rows] == [row.to_json() for row in first.records[0].rows]
    # What a killed run or a full disk left is made again.
    (file,) = (tmp_path / "records").glob("*.npz")
    file.write_bytes(file.read_bytes()[:40])
    assert measured({"a": model}, folder, tmp_path).reused == 0
    with pytest.raises(RequestError, match="holds no results"):
        Results(tmp_path / "none").all()
    (file,) = (tmp_path / "records").glob("*.json")
    file.write_text(file.read_text().replace("sightword-results/1", "sightword-results/0"))
    with pytest.raises(RequestError, match="evaluate again into another folder"):
        Results(tmp_path).all()


def test_two_models_are_compared_on_the_same_pictures(model: Model, other: Model, folder: Path, tmp_path: Path):
    found = measured({"a": model, "b": other}, folder, tmp_path)
    table = tabulate(found.records)
    assert table.models == ("a", "b")
    assert all(len(line.cells) == 2 and None not in line.cells for line in table.lines)
    one, two = (record.outcomes["rank plain"] < 1 for record in found.records)
    (compared,) = [one for one in compare_all(found.records) if one.test == "shapes, plain"]
    assert (compared.only_first, compared.only_second) == (int((one & ~two).sum()), int((two & ~one).sum()))
    assert compared.difference == pytest.approx(float(two.mean() - one.mean()))
    assert compared.tests == 2
    assert "could be noise" in in_words(compared) or "No difference" in in_words(compared)
    assert compare_all(found.records[:1]) == []


def test_probes_learn_from_the_training_pictures_alone(model: Model, folder: Path, tmp_path: Path):
    linear, few = measured({"a": model}, folder, tmp_path, "linear", "few-shot").records
    assert [row.prompt for row in linear.rows] == ["linear"]
    assert "a fifth of the training pictures" in " ".join(linear.details["remarks"])
    assert len(linear.details["path"]) >= 7
    assert {row.prompt for row in few.rows} >= {"1-shot", "2-shot"}
    assert few.details["few_shot"]["equal"]["relation"] in ("at", "at most", "more than")
    (folder / "train").rename(folder / "elsewhere")
    try:
        with pytest.raises(RequestError, match="no training pictures"):
            measured({"a": model}, folder, tmp_path / "none", "linear")
    finally:
        (folder / "elsewhere").rename(folder / "train")


def test_other_pictures_are_another_record(model: Model, folder: Path, tmp_path: Path):
    shutil.copytree(folder, tmp_path / "shapes")
    one = tmp_path / "shapes/test/star/0.png"
    tasks = ("zero-shot", "linear")
    assert measured({"a": model}, tmp_path / "shapes", tmp_path / "out", *tasks).reused == 0
    assert measured({"a": model}, tmp_path / "shapes", tmp_path / "out", *tasks).reused == 2
    # Of the same name and size.
    one.write_bytes(one.read_bytes()[:-1] + b"?")
    assert measured({"a": model}, tmp_path / "shapes", tmp_path / "out", *tasks).reused == 0
    # Other training pictures are nothing to the zero-shot head.
    (tmp_path / "shapes/train/star/0.png").unlink()
    assert measured({"a": model}, tmp_path / "shapes", tmp_path / "out", *tasks).reused == 1


def test_a_suite_goes_on_where_one_data_set_lacks_something(model: Model, folder: Path, tmp_path: Path):
    shutil.copytree(folder / "test", tmp_path / "bare" / "test")
    (tmp_path / "out/records").mkdir(parents=True)
    (tmp_path / "out/records/other.json").write_text("of somebody else, and damaged")
    wanted = find_data([str(tmp_path / "bare"), str(folder)], None)
    found = evaluate([Subject("a", model, 1)], wanted, Results(tmp_path / "out"), ["linear"])
    assert [record.data["name"] for record in found.records] == ["shapes"]
    assert str(found.missing[0]).startswith("bare: linear: ")
    assert "no training pictures" in str(found.missing[0])
    assert pq.read_table(tmp_path / "out/results.parquet").num_rows == 1


def test_robustness_to_corruptions(model: Model, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sightword.evaluation.tasks.CORRUPTED", 6)
    (record,) = measured({"a": model}, folder, tmp_path, "robustness").records
    rows = [row for row in record.rows if row.metric == "top1"]
    splits = [row.split for row in rows]
    assert splits[:2] == ["clean", "corrupted"]
    assert len(splits) == 62
    assert all(row.n == 6 for row in record.rows)
    assert record.details["corruptions"]["mean"]["value"] == pytest.approx(np.mean([row.value for row in rows[2:]]))
    assert rows[1].value == record.details["corruptions"]["mean"]["value"]
    found = record.details["corruption_shift"]
    assert found["point"]["reference"] == rows[0].value
    assert found["point"]["shift"] == pytest.approx(rows[1].value)
    assert "-shot probe at the strength" in found["over"]
    by_metric = {row.metric: row for row in record.rows}
    assert by_metric["relative_robustness"].value == found["relative"]["value"]
    # Five sizes, four strengths; of six pictures and three classes, few probes are right neither always nor never.
    on_line = found["line"]["points"] if found["line"] else ()
    assert len(on_line) + len(found["left_out"]) == 20 or found["why"]
    # Without training pictures there is no line, and the record says why.
    shutil.copytree(folder / "test", tmp_path / "bare" / "test")
    (record,) = measured({"a": model}, tmp_path / "bare", tmp_path, "robustness").records
    found = record.details["corruption_shift"]
    assert (found["line"], found["relative"]) == (None, None)
    assert "has no training pictures" in found["why"]
    assert found["why"] == record.settings["reference"]


def test_unreadable_pictures_are_counted_and_too_many_are_refused(model: Model, folder: Path, tmp_path: Path):
    for count in (1, 20):
        shutil.copytree(folder / "test", tmp_path / "some" / "test", dirs_exist_ok=True)
        for number in range(20):
            make_picture(30, 30, seed=number).save(tmp_path / "some/test/star" / f"more{number}.png")
        for number in range(count):
            (tmp_path / "some/test/star" / f"more{number}.png").write_bytes(b"no picture")
        if count == 1:
            (record,) = measured({"a": model}, tmp_path / "some", tmp_path / "out").records
            assert record.rows[0].n == 31
            assert [one["key"] for one in record.data["unreadable"]] == ["star/more0.png"]
        else:
            with pytest.raises(SightwordError, match=r"20 of 32 pictures cannot be read.*5%"):
                measured({"a": model}, tmp_path / "some", tmp_path / "out")


def test_what_is_not_there_is_named_with_the_way_to_it(model: Model, folder: Path, tmp_path: Path):
    wanted = find_data([str(folder), "pets"], tmp_path)
    found = evaluate([Subject("a", model, 1)], wanted, Results(tmp_path / "out"))
    assert [one.spec.name for one in found.missing] == ["pets"]
    assert str(tmp_path / "pets") in str(found.missing[0])
    with pytest.raises(RequestError, match="none of the data sets is there"):
        evaluate([Subject("a", model, 1)], wanted[1:], Results(tmp_path / "out"))
    with pytest.raises(RequestError, match="no suite and no data set is called 'pet'"):
        find_data(["pet"], None)
    with pytest.raises(RequestError, match="for retrieval"):
        measured({"a": model}, folder, tmp_path / "out", "retrieval")


def test_captions_and_pictures_find_each_other(model: Model, tmp_path: Path):
    root = tmp_path / "flickr30k"
    entries = []
    for number in range(6):
        (root / "flickr30k-images").mkdir(parents=True, exist_ok=True)
        make_picture(40, 40, seed=number).save(root / "flickr30k-images" / f"{number}.jpg")
        sentences = [{"raw": f"{one} red circle {number}"} for one in range(5)]
        entries.append({"filename": f"{number}.jpg", "split": "test", "sentences": sentences})
    (root / "dataset_flickr30k.json").write_text(json.dumps({"images": entries}))
    wanted = find_data(["flickr30k"], tmp_path)
    (record,) = evaluate([Subject("a", model, 1)], wanted, Results(tmp_path / "out")).records
    assert record.task == "retrieval"
    assert {row.metric for row in record.rows} == {
        f"{way}_retrieval_recall@{k}" for way in ("image", "text") for k in (1, 5, 10)
    }
    texts = model.embed_texts([f"{one} red circle {n}" for n in range(6) for one in range(5)])
    images = model.embed_images([root / "flickr30k-images" / f"{n}.jpg" for n in range(6)])
    first = (texts @ images.T).argmax(axis=1) == np.repeat(np.arange(6), 5)
    (row,) = [row for row in record.rows if row.metric == "image_retrieval_recall@1"]
    assert row.value == pytest.approx(first.mean())
    # Examples: each with the pictures that really are the nearest, hits before misses.
    shown = record.details["examples"]["by_caption"]
    assert {one["hit"] for one in shown} == {*first.tolist()}
    sentences = [f"{one} red circle {n}" for n in range(6) for one in range(5)]
    for one in shown:
        cosines = texts[sentences.index(one["query"])] @ images.T
        assert [found["name"] for found in one["best"]] == [f"{n}.jpg" for n in np.argsort(-cosines)[:5]]
        assert one["best"][0]["picture"].startswith("data:image/png")
        assert one["hit"] == one["best"][0]["right"] == (one["place"] == 1)
    for one in record.details["examples"]["by_picture"]:
        assert all(found["name"].endswith(one["query"][0]) == found["right"] for found in one["best"])


def test_the_command(
    checkpoint: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("rich.console.Console.width", 160)
    out, file = tmp_path / "results", tmp_path / "found.json"
    words = ["evaluate", str(checkpoint), "--suite", str(folder), "--out", str(out), "--json", str(file)]
    assert command(words) == 0
    shown = capsys.readouterr().out
    assert "shapes" in shown
    assert "plain" in shown
    written = json.loads(file.read_text())
    assert {row["prompt"] for row in written["results"]} == {"bare", "plain"}
    assert written["missing"] == []
    assert command(["evaluate", "--compare", "--out", str(out)]) == 0
    assert "shapes" in capsys.readouterr().out
    assert command(["evaluate", "--out", str(out)]) == 2
    assert command(["evaluate", "--compare", str(checkpoint), "--out", str(out)]) == 2
    assert command(["evaluate", str(checkpoint), "--suite", "nowhere", "--out", str(out)]) == 2
    assert sightword.evaluate([checkpoint], [str(folder)], out=out).reused == 1


def test_models_are_called_by_what_tells_them_apart():
    assert _short_names(["runs/one/model", "runs/two/model"]) == {
        "runs/one/model": "one/model",
        "runs/two/model": "two/model",
    }
    assert _short_names(["b32", "./b16"]) == {"b32": "b32", "./b16": "b16"}
    assert _short_names(["model"]) == {"model": "model"}
    assert _short_names([]) == {}

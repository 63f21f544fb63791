"""Learning from a teacher whose vectors are made once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import sightword
from sightword.data.pairs import PairList
from sightword.errors import CheckpointError, RequestError
from sightword.training.data import training_texts
from sightword.training.log import read_log
from sightword.training.loop import train
from sightword.training.loss_recipe import TeacherRecipe
from sightword.training.recipe import Recipe, read_recipe
from sightword.training.start import load_start
from sightword.training.teacher import make_teacher
from tests.training.test_loop import PAGE, StopError, equal, interrupt_after, weights


@pytest.fixture
def recipe(tmp_path: Path, checkpoint: Path) -> Callable[..., Recipe]:
    (tmp_path / "recipe.toml").write_text(f'{PAGE}\n[training.teacher]\nname = "{checkpoint}"\n')
    return lambda *changes: read_recipe(tmp_path / "recipe.toml", ["training.steps=6", "training.every=3", *changes])


def losses(run: Path) -> list[dict[str, float]]:
    return [event for event in read_log(run / "log.jsonl") if event["event"] == "step"]


def test_the_student_comes_near_to_its_teacher(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path, checkpoint: Path
):
    steps = ("training.steps=60", "training.every=60", "training.teacher.task=0.0")
    teacher = sightword.load(checkpoint)
    files = [pair.image for pair in pairs.pairs]
    theirs = teacher.embed_images(files)

    def distance(run: str) -> tuple[float, float]:
        """Of the vectors, and of the similarities of pictures with texts."""
        student = sightword.load(tmp_path / run / "model")
        mine, texts = student.embed_images(files), [pair.texts[0] for pair in pairs.pairs]
        table = mine @ student.embed_texts(texts).T - theirs @ teacher.embed_texts(texts).T
        return 1 - float((mine * theirs).sum(axis=1).mean()), float(np.abs(table).mean())

    train(recipe("training.steps=1", "training.lr=1e-9"), tmp_path / "none", pairs)
    train(recipe(*steps, "training.teacher.features=10", "training.teacher.similarities=0"), tmp_path / "f", pairs)
    train(recipe(*steps, "training.teacher.similarities=1"), tmp_path / "s", pairs)
    assert distance("f")[0] < 0.3 * distance("none")[0]
    assert losses(tmp_path / "s")[-1]["loss"] < 0.3 * losses(tmp_path / "s")[0]["loss"]


@pytest.mark.parametrize("dim", [16, 32, 48])
def test_vectors_are_the_teachers_whatever_the_dimensions(
    pairs: PairList, tmp_path: Path, checkpoint: Path, dim: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sightword.training.kept_vectors._PART", 10)
    texts = sorted({pair.texts[0] for pair in pairs.pairs})
    asked = TeacherRecipe(name=str(checkpoint), features=1.0)
    teacher = make_teacher(asked, load_start(str(checkpoint)), pairs, texts, tmp_path, dim, "cpu")
    model = sightword.load(checkpoint)
    images = torch.from_numpy(model.embed_images([pair.image for pair in pairs.pairs]))
    torch.testing.assert_close(teacher.images.rows(range(len(pairs))), images, atol=1e-3, rtol=0)
    sentences = torch.from_numpy(model.embed_texts(texts))
    torch.testing.assert_close(teacher.texts.rows(range(len(texts))), sentences, atol=1e-3, rtol=0)
    mapped = teacher._mapped(images), teacher._mapped(sentences)
    assert mapped[0].shape == (len(pairs), dim)
    torch.testing.assert_close(mapped[0].norm(dim=1), torch.ones(len(pairs)))
    # What is alike stays alike: exactly in more dimensions, nearly on the principal axes of fewer.
    error = (mapped[0] @ mapped[1].T - images @ sentences.T).abs().max()
    assert error < (0.05 if dim == 16 else 1e-6)


def test_vectors_are_made_once_part_by_part(
    pairs: PairList, tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sightword.training.kept_vectors._PART", 10)
    seen: list[range] = []

    def see(embedder: object, source: object, places: range, dtype: type) -> np.ndarray:
        seen.append(places)
        if len(seen) == 3:
            raise StopError
        return np.ones((len(places), 32), np.float16)

    monkeypatch.setattr("sightword.training.teacher.see", see)
    arguments = TeacherRecipe(name=str(checkpoint)), load_start(str(checkpoint))
    with pytest.raises(StopError):
        make_teacher(*arguments, pairs, ["a"], tmp_path, 32, "cpu")
    for _ in range(2):
        make_teacher(*arguments, pairs, ["a"], tmp_path, 32, "cpu")
    assert [places.start for places in seen] == [0, 10, 20, 20, 30, 40, 50, 60]
    make_teacher(*arguments, pairs, ["a", "b"], tmp_path, 32, "cpu")  # other sentences: vectors of their own
    assert len(list(tmp_path.iterdir())) == 2


def test_a_run_with_a_teacher_goes_on_to_the_same_weights(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path, checkpoint: Path
):
    asked = recipe("training.teacher.features=1", f"training.teacher.cache={tmp_path / 'vectors'}")
    train(asked, tmp_path / "whole", pairs)
    with pytest.raises(StopError):
        train(asked, tmp_path / "cut", pairs, validate=interrupt_after(1))
    train(asked, tmp_path / "cut", pairs)
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert len(list((tmp_path / "vectors").iterdir())) == 1
    assert not (tmp_path / "whole" / "teacher").exists()
    told = json.loads((tmp_path / "whole" / "model" / "contract.json").read_text())["provenance"]
    assert told["teacher"]["fingerprint"] == sightword.load(checkpoint).fingerprint


def test_what_a_teacher_asks_is_added_to_the_task(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    few = ("training.steps=1", "training.every=1")
    train(recipe(*few), tmp_path / "one", pairs)
    train(recipe(*few, "training.teacher.similarities=3"), tmp_path / "three", pairs)
    train(recipe(*few, "training.teacher.task=0.5"), tmp_path / "half", pairs)
    one, three, half = (losses(tmp_path / name)[0] for name in ("one", "three", "half"))
    assert one["task_loss"] == three["task_loss"] == half["task_loss"]
    asked = one["loss"] - one["task_loss"]
    assert three["loss"] - three["task_loss"] == pytest.approx(3 * asked, rel=1e-4)
    assert half["loss"] == pytest.approx(asked + 0.5 * one["task_loss"], rel=1e-5)


def test_a_teacher_knows_all_sentences_where_the_tokenizer_sees_a_part(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(training_texts, "__defaults__", (4,))  # of so many pairs, in place of a million
    assert len(training_texts(pairs, ("{}",), False)) < len(training_texts(pairs, ("{}",), False, most=None)) == 8
    train(recipe(), tmp_path / "run", pairs)
    assert len(losses(tmp_path / "run")) == 1


def test_a_teacher_that_cannot_teach_is_refused(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    with pytest.raises(CheckpointError, match="nowhere"):
        train(recipe("training.teacher.name=./nowhere"), tmp_path / "run", pairs)
    assert not (tmp_path / "run").exists()
    with pytest.raises(RequestError, match="nothing to say"):
        recipe("training.teacher.similarities=0")


def test_a_start_teaches_where_nobody_else_is_named(tmp_path: Path, checkpoint: Path):
    page = PAGE[: PAGE.index("[model]")] + '[model]\nstart = "START"\n' + PAGE[PAGE.index("[training]") :]
    (tmp_path / "started.toml").write_text(f"{page}[training.teacher]\nfeatures = 1.0\n")
    changes = [f"model.start={checkpoint}"]
    found = read_recipe(tmp_path / "started.toml", changes).training.teacher
    assert found is not None
    assert found.name == str(checkpoint)
    other = read_recipe(tmp_path / "started.toml", [*changes, "training.teacher.name=other"]).training.teacher
    assert other is not None
    assert other.name == "other"
    (tmp_path / "new.toml").write_text(f"{PAGE}[training.teacher]\nfeatures = 1.0\n")
    with pytest.raises(RequestError, match=r"training\.teacher\.name"):
        read_recipe(tmp_path / "new.toml")

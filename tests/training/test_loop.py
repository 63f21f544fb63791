"""The trainer: it learns, repeats bit for bit, goes on where it stopped, and survives what cannot be read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import sightword
from sightword.data.folder import read_pairs
from sightword.data.pairs import PairList
from sightword.embedding.embedder import Embedder
from sightword.errors import RequestError, SightwordError
from sightword.evaluation.validation import validation_row
from sightword.training.log import read_log
from sightword.training.loop import train
from sightword.training.recipe import Recipe, read_recipe
from sightword.training.snapshots import Snapshots
from tests.training.conftest import COLOURS, draw

PAGE = """
title = "colours and shapes"
[data]
source = "pairs"
path = "unused here"
validation = 0.0
[augment]
crop = [0.8, 1.0]
brightness = 0.1
[model]
embed_dim = 32
[model.image]
kind = "vit"
image_size = 16
patch = 8
width = 32
layers = 1
heads = 2
[model.text]
kind = "transformer"
vocabulary = 300
width = 32
layers = 1
heads = 2
[training]
steps = 60
batch_size = 16
lr = 3e-3
warmup = 5
every = 20
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Recipe]:
    (tmp_path / "recipe.toml").write_text(PAGE)
    return lambda *changes: read_recipe(tmp_path / "recipe.toml", changes)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return sightword.load(folder / "model").model.state_dict()


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_tiny_training_learns_to_name(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    train(recipe(), tmp_path / "run", pairs)
    model = sightword.load(tmp_path / "run" / "model")
    labels = [f"a {colour} {shape}" for colour in COLOURS for shape in ("disc", "bar")]
    pictures = [draw(*label.split()[1:], seed=100 + i) for i, label in enumerate(labels * 4)]
    right = np.mean(
        [
            best == label
            for best, label in zip(model.classifier(labels).predict(pictures).best(), labels * 4, strict=True)
        ]
    )
    assert right > 0.5  # chance is 1 in 8
    losses = [event["loss"] for event in read_log(tmp_path / "run" / "log.jsonl") if event["event"] == "step"]
    assert losses[-1] < losses[0]


def test_one_seed_one_result_whatever_the_workers(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    few = ["training.steps=12"]
    train(recipe(*few), tmp_path / "one", pairs)
    train(recipe(*few, "data.workers=1"), tmp_path / "two", pairs)
    train(recipe(*few, "seed=1"), tmp_path / "other", pairs)
    assert equal(weights(tmp_path / "one"), weights(tmp_path / "two"))
    assert not equal(weights(tmp_path / "one"), weights(tmp_path / "other"))


class StopError(Exception):
    """Stands for whatever ends a run."""


def interrupt_after(looks: int) -> Callable[[Embedder], dict[str, object]]:
    seen = [0]

    def validate(embedder: Embedder) -> dict[str, object]:
        seen[0] += 1
        if seen[0] > looks:
            raise StopError
        return {"value": 0.5}

    return validate


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_an_interrupted_run_goes_on_to_the_same_weights(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path, ema: float
):
    resolved = recipe("training.steps=30", "training.every=10", f"training.ema={ema}")
    train(resolved, tmp_path / "whole", pairs)
    with pytest.raises(StopError):
        train(resolved, tmp_path / "cut", pairs, validate=interrupt_after(1))
    snapshot, _ = Snapshots(tmp_path / "cut" / "snapshots", 2).newest()
    assert snapshot is not None
    assert snapshot["step"] == 10
    train(resolved, tmp_path / "cut", pairs)
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    steps = [event["step"] for event in read_log(tmp_path / "cut" / "log.jsonl") if event["event"] == "step"]
    assert steps == [10, 20, 30]  # what happened after the snapshot is in the log once


def test_a_finished_run_is_left_alone(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    first = train(recipe("training.steps=2"), tmp_path / "run", pairs)
    again = train(recipe("training.steps=2"), tmp_path / "run", pairs)
    assert again.finished_before
    assert not first.finished_before
    assert again.minutes == first.minutes


def test_a_folder_of_another_run_is_refused(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    train(recipe("training.steps=2"), tmp_path / "run", pairs)
    with pytest.raises(RequestError, match=r"training\.lr"):
        train(recipe("training.steps=2", "training.lr=1e-4"), tmp_path / "run", pairs)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(RequestError, match="holds no run"):
        train(recipe("training.steps=2"), tmp_path / "mine", pairs)


def test_the_scale_begins_where_the_recipe_says_and_stays_in_bounds(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path
):
    train(recipe("training.steps=1", "training.scale=40", "training.lr=1e-9"), tmp_path / "still", pairs)
    assert sightword.load(tmp_path / "still" / "model").scale == pytest.approx(40)
    train(recipe("training.steps=5", "training.scale=99", "training.scale_lr=1000"), tmp_path / "fast", pairs)
    assert 1 <= sightword.load(tmp_path / "fast" / "model").scale <= 100.0001


def test_the_best_snapshot_can_become_the_model(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    values = iter([0.2, 0.9, 0.1])
    resolved = recipe("training.steps=30", "training.every=10", "training.keep=best")
    train(resolved, tmp_path / "run", pairs, validate=lambda _: {"value": next(values)})
    best = Snapshots(tmp_path / "run" / "snapshots", 2).best()
    assert best is not None
    assert best["step"] == 20
    assert equal(weights(tmp_path / "run"), best["weights"])


def test_pictures_that_cannot_be_read_are_counted_and_named(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path
):
    folder = tmp_path / "damaged"
    folder.mkdir()
    for pair in pairs.pairs[::4]:
        source = Path(str(pair.image))
        (folder / source.name).write_bytes(source.read_bytes())
        (folder / source.name).with_suffix(".txt").write_text(pair.texts[0])
    names = sorted(file.name for file in folder.glob("*.png"))
    (folder / names[0]).write_bytes((folder / names[0]).read_bytes()[:60])
    (folder / names[1]).write_bytes(b"not an image")
    result = train(recipe("training.steps=6", "training.batch_size=8"), tmp_path / "run", read_pairs(folder))
    events = [event for event in read_log(tmp_path / "run" / "log.jsonl") if event["event"] == "skipped"]
    assert sorted(event["key"] for event in events) == names[:2]
    assert result.skipped == 2


def test_nothing_readable_ends_the_run_with_a_reason(recipe: Callable[..., Recipe], tmp_path: Path):
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(b"nothing")
        (tmp_path / f"{i}.txt").write_text(f"text {i}")
    with pytest.raises(SightwordError, match="none of the training pictures"):
        train(recipe("training.steps=6", "training.batch_size=2"), tmp_path / "run", read_pairs(tmp_path))


def test_held_out_pictures_find_their_text(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    train(recipe(), tmp_path / "run", pairs)
    names = sorted({pair.name for pair in pairs.pairs})
    row = validation_row(sightword.load(tmp_path / "run" / "model"), pairs.pairs, names)
    assert row.n == len(pairs)
    assert row.value > 0.5
    assert row.low < row.value <= row.high

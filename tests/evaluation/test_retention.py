"""What a model forgets shows, beside what it learns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import sightword
from sightword.errors import RequestError
from sightword.evaluation.experiment import run_training
from sightword.evaluation.retention import Retention
from sightword.training.log import read_log
from sightword.training.recipe import RetentionRecipe, read_recipe
from tests.training.conftest import COLOURS, draw
from tests.training.test_loop import PAGE

NAMES = [f"a {colour} {shape}" for colour in COLOURS for shape in ("disc", "bar")]


def write(folder: Path, seeds: range, grey: bool) -> Path:
    """Coloured drawings with the names of their colours; or grey ones, which are called something else."""
    folder.mkdir()
    for name in NAMES:
        _, colour, shape = name.split()
        for seed in seeds:
            picture: Image.Image = draw(colour, shape, seed)
            file = folder / f"{colour}-{shape}-{seed}.png"
            (ImageOps.invert(picture) if grey else picture).save(file)
            file.with_suffix(".txt").write_text(f"a {colour[::-1]} {shape}" if grey else name)
    return folder


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model that knows the colours, and pictures of them that it never saw."""
    folder = tmp_path_factory.mktemp("known")
    page = folder / "recipe.toml"
    page.write_text(PAGE.replace("unused here", str(write(folder / "train", range(8), grey=False))))
    run_training(read_recipe(page), folder / "run")
    return folder / "run" / "model", write(folder / "kept", range(50, 53), grey=False)


def page_of(tmp_path: Path, known: tuple[Path, Path]) -> Path:
    """A recipe that tunes the model on the other task."""
    page = tmp_path / "tune.toml"
    page.write_text(f"""
        title = "another task"
        [data]
        source = "pairs"
        path = "{write(tmp_path / "task", range(6), grey=True)}"
        validation = 0.25
        [model]
        start = "{known[0]}"
        [training]
        steps = 40
        batch_size = 16
        lr = 3e-3
        every = 20
        wise = [0.0, 0.25, 0.5, 0.75, 1.0]
        [retention]
        path = "{known[1]}"
        truth = "pairs"
        """)
    return page


def test_forgetting_shows_in_every_validation(known: tuple[Path, Path], tmp_path: Path):
    run_training(read_recipe(page_of(tmp_path, known)), tmp_path / "run")
    events = list(read_log(tmp_path / "run" / "log.jsonl"))
    rows = [event["row"] for event in events if event["event"] == "validation"]
    assert len(rows) == 3  # before the first step, and after 20 and 40
    before, after = rows[0], rows[-1]
    assert before["value"] < after["value"]
    assert before["retention"]["value"] > after["retention"]["value"] + 0.2
    assert before["retention"]["loss"] < after["retention"]["loss"]
    for row in rows:
        assert row["retention"]["before"] == {key: before["retention"][key] for key in ("value", "loss")}
        assert row["retention"]["low"] <= row["retention"]["value"] <= row["retention"]["high"]
        assert (row["retention"]["n"], row["retention"]["classes"]) == (24, 8)
    # The sweep weighs both, and its ends are the first and the last of these rows.
    wise = json.loads((tmp_path / "run" / "model" / "contract.json").read_text())["provenance"]["wise"]
    scores = {point["alpha"]: point["score"] for point in wise["curve"]}
    assert scores[0.0] == pytest.approx((before["value"] + before["retention"]["value"]) / 2)
    assert scores[1.0] == pytest.approx((after["value"] + after["retention"]["value"]) / 2)
    assert scores[wise["alpha"]] == max(scores.values())


def test_a_start_agrees_with_itself(known: tuple[Path, Path]):
    model = sightword.load(known[0], decode="exact")
    row = Retention(RetentionRecipe(path=str(known[1]), names=("red", "blue", "green")), model).measure(model)
    assert (row["value"], row["classes"], row["truth"]) == (1.0, 3, "start")
    assert row["loss"] == pytest.approx(0, abs=1e-12)


def test_the_loss_is_that_of_the_formula(known: tuple[Path, Path], model: sightword.Model):
    start = sightword.load(known[0], decode="exact")
    files = sorted(known[1].glob("*.png"))
    names = sorted(NAMES)

    def answers(embedder: sightword.Model) -> np.ndarray:
        cosine = embedder.embed_images(files) @ embedder.embed_texts(names).T
        weight = np.exp(embedder.scale * cosine.astype(np.float64))
        return weight / weight.sum(axis=1, keepdims=True)

    other = sightword.interpolate(start, start, 0.5)
    other.model.log_scale.data.sub_(0.7)
    p, q = answers(start), answers(other)
    row = Retention(RetentionRecipe(path=str(known[1])), start).measure(other)
    assert row["loss"] == pytest.approx((p * np.log(p / q)).sum(axis=1).mean(), rel=1e-4)
    assert row["loss"] > 0.01
    own = [names.index(file.with_suffix(".txt").read_text()) for file in files]
    row = Retention(RetentionRecipe(path=str(known[1]), truth="pairs")).measure(other)
    assert row["loss"] == pytest.approx(-np.log(q[np.arange(len(own)), own]).mean(), rel=1e-4)
    assert row["value"] == pytest.approx((q.argmax(axis=1) == own).mean())
    assert "before" not in row


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "nowhere"}, "no such file"),
        ({"names": ("one",)}, "among one name"),
        ({"names": ("one", "two"), "truth": "pairs"}, "lacks 'a blue bar', the name of blue-bar-50.png"),
    ],
)
def test_a_set_that_says_nothing_is_refused(known: tuple[Path, Path], changes: dict[str, object], message: str):
    with pytest.raises(RequestError, match=message):
        Retention(RetentionRecipe(**({"path": str(known[1])} | changes)))  # pyright: ignore


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["data.validation=0.0"], "`retention` stands beside the pairs held out"),
        (["retention.truth=start"], "needs model.start"),
    ],
)
def test_a_recipe_that_cannot_watch_is_refused(tmp_path: Path, changes: list[str], message: str):
    page = tmp_path / "recipe.toml"
    page.write_text(PAGE + '[retention]\npath = "somewhere"\ntruth = "pairs"\n')
    with pytest.raises(RequestError, match=message):
        read_recipe(page, ["data.validation=0.2", *changes])

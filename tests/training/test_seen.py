"""Pictures of a locked image tower: their vectors are made once, and no picture is opened after that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sightword
from sightword.data.pairs import PairList
from sightword.training import seen
from sightword.training.log import read_log
from sightword.training.loop import train
from sightword.training.recipe import Recipe, read_recipe
from tests.training.test_loop import StopError, equal, interrupt_after, weights
from tests.training.test_start import PAGE

TEXTS = ["a red disc", "a blue bar"]


@pytest.fixture
def recipe(tmp_path: Path, checkpoint: Path) -> Callable[..., Recipe]:
    (tmp_path / "recipe.toml").write_text(PAGE.replace("START", str(checkpoint)))
    more = (
        "model.image.train=none",
        "training.steps=24",
        "training.every=12",
        "training.precision=fp32",
        "data.keep=0",
    )
    return lambda *changes: read_recipe(tmp_path / "recipe.toml", [*more, *changes])


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the loader has opened so far."""
    found: list[object] = []
    from sightword.data import loader

    open_image = loader.open_image

    def noted(image: object, **how: object) -> object:
        found.append(image)
        return open_image(image, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(loader, "open_image", noted)
    return found


def losses(run: Path) -> np.ndarray:
    return np.array([event["loss"] for event in read_log(run / "log.jsonl") if event["event"] == "step"])


@pytest.mark.parametrize("pieces", [0, 3])
def test_the_same_steps_without_opening_a_picture(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path, opened: list[object],
    monkeypatch: pytest.MonkeyPatch, pieces: int,
):  # fmt: skip
    asked = recipe(f"training.micro_batch={pieces}")
    train(asked, tmp_path / "kept", pairs)
    assert not opened
    monkeypatch.setattr("sightword.training.setup.is_seen_once", lambda *_: False)
    train(asked, tmp_path / "plain", pairs)
    assert opened
    np.testing.assert_allclose(losses(tmp_path / "kept"), losses(tmp_path / "plain"), rtol=1e-5)
    assert not (tmp_path / "plain" / "pictures").exists()


def test_a_run_goes_on_to_the_same_weights(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    train(recipe(), tmp_path / "whole", pairs)
    with pytest.raises(StopError):
        train(recipe(), tmp_path / "cut", pairs, validate=interrupt_after(2))
    train(recipe(), tmp_path / "cut", pairs)
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_runs_of_one_start_share_a_folder(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    where = f"model.image.vectors={tmp_path / 'vectors'}"
    train(recipe(where), tmp_path / "one", pairs)

    def made_again(*_: object, **__: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(seen, "see", made_again)
    train(recipe(where, "training.lr=1e-4", "seed=1"), tmp_path / "two", pairs)
    assert len(list((tmp_path / "vectors").iterdir())) == 1
    with pytest.raises(AssertionError, match="made again"):  # other pairs: vectors of their own
        train(recipe(where), tmp_path / "three", PairList(pairs.pairs[1:]))


def test_what_cannot_be_read_is_left_out_and_named(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    bad = replace(pairs.pairs[0], image=tmp_path / "bad.png", key="bad")
    result = train(recipe(), tmp_path / "run", PairList([bad, *pairs.pairs[1:]]))
    told = [event for event in read_log(tmp_path / "run" / "log.jsonl") if event["event"] == "skipped"]
    assert result.skipped == 1
    assert told[0]["key"] == "bad"


@pytest.mark.parametrize(
    "change",
    ["model.image.train=head", "augment.flip=0.5", "training.drop_patches=0.5", "training.steps=2"],
    ids=["the head learns", "augmented", "patches are left out", "seen once anyway"],
)
def test_where_pictures_are_looked_at_as_ever(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path, opened: list[object], change: str
):
    train(recipe(change), tmp_path / "run", pairs)
    assert opened


def test_a_start_that_teaches_makes_no_vectors_of_pictures(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path, checkpoint: Path
):
    taught = (f"training.teacher.name={checkpoint}", "training.teacher.features=5", "training.teacher.similarities=0")
    train(recipe(*taught), tmp_path / "run", pairs)
    assert [*(tmp_path / "run" / "pictures").rglob("images-*.npy")]
    assert [*(tmp_path / "run" / "teacher").rglob("texts-*.npy")]
    assert not [*(tmp_path / "run" / "teacher").rglob("images-*.npy")]
    # What is taught is to stay as it was: texts end nearer to the start than without.
    start = sightword.load(checkpoint)
    train(recipe(), tmp_path / "alone", pairs)
    near = [
        float((sightword.load(tmp_path / run / "model").embed_texts(TEXTS) * start.embed_texts(TEXTS)).sum(1).mean())
        for run in ("run", "alone")
    ]
    assert near[0] > near[1]

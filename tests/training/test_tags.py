"""Training on the names of all that pictures show: a run that goes on, in pieces, over ranks, computed again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import sightword
from sightword.data.companions import companions_record
from sightword.data.folder import read_pairs
from sightword.data.pairs import Companions, PairList
from sightword.errors import RequestError, SightwordError
from sightword.training import guard as guard_module
from sightword.training.guard import replay
from sightword.training.loop import train
from sightword.training.recipe import Recipe, read_recipe
from tests.training.test_loop import PAGE, StopError, equal, interrupt_after, weights
from tests.training.test_negation import losses
from tests.training.test_ranks import finish, same, start

TAGS = "training.tag_loss=1"


@pytest.fixture(scope="module")
def told(pairs: PairList) -> PairList:
    """Of each picture its colour and its shape; of every fourth nothing."""
    found = []
    for number, pair in enumerate(pairs):
        _, colour, shape = pair.texts[0].split()
        found.append(replace(pair, companions=Companions(tags=(colour, shape)) if number % 4 else None))
    return PairList(found)


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Recipe]:
    (tmp_path / "recipe.toml").write_text(PAGE)
    few = ("training.steps=6", "training.every=2", "data.workers=0")
    return lambda *changes: read_recipe(tmp_path / "recipe.toml", (*few, *changes))


@pytest.mark.parametrize("loss", ["infonce", "sigmoid"])
def test_a_run_goes_on_and_goes_in_pieces(recipe: Callable[..., Recipe], told: PairList, tmp_path: Path, loss: str):
    asked = (TAGS, f"training.loss={loss}")
    train(recipe(*asked), tmp_path / "whole", told)
    with pytest.raises(StopError):
        train(recipe(*asked), tmp_path / "cut", told, validate=interrupt_after(2))
    train(recipe(*asked), tmp_path / "cut", told)
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    train(recipe(*asked, "training.micro_batch=5"), tmp_path / "pieces", told)
    assert losses(tmp_path / "pieces") == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)
    train(recipe(asked[1]), tmp_path / "without", told)
    assert losses(tmp_path / "without")[0] < losses(tmp_path / "whole")[0]


def test_ranks_make_the_run_of_one(recipe: Callable[..., Recipe], told: PairList, tmp_path: Path):
    table = tmp_path / "told.jsonl"
    rows = [
        {"path": str(pair.image), "text": pair.texts[0], **companions_record(pair.companions)} for pair in told.pairs
    ]
    table.write_text("\n".join(map(json.dumps, rows)))
    changes = ["training.steps=4", TAGS, "training.lr=1e-4", "training.batch_size=15"]
    ranks = start(2, tmp_path / "recipe.toml", table, tmp_path / "two", ["data.workers=0", *changes])
    train(recipe(*changes), tmp_path / "one", read_pairs(table))
    for code, text in finish(ranks):
        assert code == 0, text
    same(weights(tmp_path / "two"), weights(tmp_path / "one"))
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


def test_names_are_learned_from_pictures_of_several(recipe: Callable[..., Recipe], told: PairList, tmp_path: Path):
    """By captions alone no text of the run is a shape by itself."""
    train(recipe(TAGS, "training.steps=120"), tmp_path / "run", told)
    model = sightword.load(tmp_path / "run" / "model")
    shapes = sorted({pair.texts[0].split()[2] for pair in told})
    scores = model.embed_images([pair.image for pair in told]) @ model.embed_texts(shapes).T
    right = [shapes[best] == pair.texts[0].split()[2] for best, pair in zip(scores.argmax(axis=1), told, strict=True)]
    assert sum(right) > 0.9 * len(right)


def test_a_refused_step_is_computed_again_to_the_bit(
    recipe: Callable[..., Recipe], told: PairList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(guard_module, "_FIRST", 2)
    resolved = recipe(TAGS, "training.steps=40", "training.spike=1.02")
    with pytest.raises(SightwordError, match="was not taken"):
        train(resolved, tmp_path / "run", told)
    (file,) = (tmp_path / "run").glob("bad-step-*.pt")
    record = torch.load(file, weights_only=True)
    assert replay(file, resolved, told, "cpu").loss == record["figures"]["loss"]


def test_pairs_without_tags_are_refused(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    with pytest.raises(RequestError, match=r"training.tag_loss needs pairs with texts that are .tags"):
        train(recipe(TAGS), tmp_path / "run", pairs)
    assert not (tmp_path / "run").exists()

"""Recipes: typed, and honest about mistakes."""

from pathlib import Path

import pytest

from sightword.config import differences
from sightword.errors import RequestError
from sightword.training.recipe import read_recipe, recipe_text

PAGE = """
title = "tiny"
[data]
source = "emoji"
[model]
embed_dim = 16
[model.image]
kind = "vit"
image_size = 32
patch = 8
width = 32
layers = 1
heads = 2
[model.text]
kind = "transformer"
width = 32
layers = 1
heads = 2
[training]
steps = 5
batch_size = 4
lr = 1e-3
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(PAGE)
    return path


def test_defaults_are_filled_in_and_written_out(page: Path, tmp_path: Path):
    recipe = read_recipe(page)
    assert recipe.training.warmup == 0
    (tmp_path / "resolved.toml").write_text(recipe_text(recipe))
    assert "warmup = 0" in (tmp_path / "resolved.toml").read_text()
    assert read_recipe(tmp_path / "resolved.toml") == recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.leraning_rate=1", "training.leraning_rate.*did you mean 'lr'|did you mean"),
        ("training.warmpu=1", "'warmup'"),
        ("model.image.pach=8", "'patch'"),
        ("data.sorce=1", "'source'"),
        ("sede=1", "'seed'"),
    ],
)
def test_an_unknown_key_names_the_nearest(page: Path, change: str, message: str):
    with pytest.raises(RequestError, match=message):
        read_recipe(page, [change])


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("training.steps=many", "training.steps"),
        ("training.steps=0", "training.steps"),
        ("training.lr=-1", "training.lr"),
        ("augment.flip=2", "augment.flip"),
        ("model.image.kind=vitamin", "model.image"),
        ("data.source=pairs", "path"),
        ("data.keep=-1", "data.keep"),
        ("data.lanes=0", "data.lanes"),
        ("data.lanes=5", "no multiple of `data.lanes` = 5"),
    ],
)
def test_a_wrong_value_names_its_key(page: Path, change: str, key: str):
    with pytest.raises(RequestError, match=key):
        read_recipe(page, [change])


def test_changes_are_typed_as_in_toml(page: Path):
    recipe = read_recipe(page, ["training.steps=7", "title=another one", "augment.crop=[0.5, 1.0]"])
    assert (recipe.training.steps, recipe.title, recipe.augment.crop) == (7, "another one", (0.5, 1.0))
    assert list(differences(recipe, read_recipe(page))) == ["augment.crop", "title", "training.steps"]


@pytest.mark.parametrize("change", ["training.steps", "=3", "title.deeper=1"])
def test_a_malformed_change_is_refused(page: Path, change: str):
    with pytest.raises(RequestError, match="--set"):
        read_recipe(page, [change])


def test_a_recipe_that_is_not_there_or_not_toml(tmp_path: Path):
    with pytest.raises(RequestError, match="no such recipe"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[[[")
    with pytest.raises(RequestError, match="not readable as TOML"):
        read_recipe(tmp_path / "bad.toml")


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "recipes").glob("*.toml")), ids=lambda p: p.name)
def test_every_recipe_that_comes_along_can_be_read(path: Path):
    assert read_recipe(path).title

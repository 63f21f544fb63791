"""A start that looks at pictures of another size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import sightword
from sightword.checkpoints.contract import Contract
from sightword.data.pairs import PairList
from sightword.data.tokenizer import Tokenizer
from sightword.errors import RequestError
from sightword.towers.configs import BackboneConfig, ImageConfig, ResNetConfig, ViTConfig
from sightword.training.build import build
from sightword.training.loop import train
from sightword.training.recipe import Recipe, read_recipe
from sightword.training.start import load_start
from tests.training.test_start import PAGE, save_changed

TOWERS: dict[str, ImageConfig] = {
    "a class token": ViTConfig(image_size=32, patch=8, width=32, layers=1, heads=2),
    "an average": ViTConfig(image_size=32, patch=8, width=32, layers=1, heads=2, pool="average", class_token=False),
    "a ResNet": ResNetConfig(image_size=32, blocks=(1, 1, 1, 1), width=8, heads=2),
    "convolutions": BackboneConfig(name="efficientnet-lite0", image_size=32),
}


@pytest.fixture
def begun(tmp_path: Path, contract: Contract, tokenizer: Tokenizer) -> Callable[..., Recipe]:
    def begin(tower: str, *changes: str) -> Recipe:
        save_changed(tmp_path / "start", contract, tokenizer, {"image": TOWERS[tower]})
        (tmp_path / "recipe.toml").write_text(PAGE.replace("START", str(tmp_path / "start")))
        return read_recipe(tmp_path / "recipe.toml", changes)

    return begin


@pytest.mark.parametrize("tower", TOWERS)
def test_the_tower_sees_what_it_would_see_in_a_larger_picture(tower: str, begun: Callable[..., Recipe], tmp_path: Path):
    recipe = begun(tower, "model.image.image_size=64")
    start, found = load_start(str(tmp_path / "start")), build(recipe, ())
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(found.model.eval().image(pictures), start.model.eval().image(pictures))
    assert found.contract.image.size == found.contract.architecture.image.image_size == 64
    assert found.contract.provenance["image_size"] == {"from": 32, "to": 64}


def test_a_run_of_larger_pictures_is_a_model_of_them(begun: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    recipe = begun("a class token", "model.image.image_size=48", "training.steps=1")
    train(recipe, tmp_path / "run", pairs)
    model = sightword.load(tmp_path / "run" / "model")
    assert model.contract.image.size == 48
    assert model.model.image.positions.shape == (6 * 6 + 1, 32)
    assert len(model.embed_images([pair.image for pair in pairs.pairs[:2]])) == 2


@pytest.mark.parametrize(
    ("tower", "size", "said"), [("a class token", 7, "patches have 8 pixels"), ("a ResNet", 48, "a multiple of 32")]
)
def test_a_size_that_the_tower_cannot_take(tower: str, size: int, said: str, begun: Callable[..., Recipe]):
    with pytest.raises(RequestError, match=rf"start: model\.image\.image_size = {size}: .*{said}"):
        build(begun(tower, f"model.image.image_size={size}"), ())

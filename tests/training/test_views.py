"""What a step sees of its pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sightword.data.pairs import Batch, Tokens
from sightword.errors import RequestError
from sightword.training.recipe import Recipe, read_recipe
from sightword.training.views import Views, choose_patches

RECIPE = Path(__file__).parents[2] / "recipes" / "scratch.toml"
RESNET = "model.image={kind='resnet', image_size=64, blocks=[1,1,1,1], width=8, heads=4}"
VIT = ["model.image={kind='vit', image_size=64, patch=16, width=32, layers=1, heads=2}"]


def recipe(*changes: str) -> Recipe:
    return read_recipe(RECIPE, [*VIT, "training.steps=100", *changes])


def batch(size: int = 6) -> Batch:
    images = torch.arange(size * 3 * 64 * 64).reshape(size, 3, 64, 64).remainder(251).to(torch.uint8)
    tokens = Tokens(torch.zeros(size, 2, dtype=torch.int64), torch.full((size,), 2))
    draws = torch.randint(2**62, (size,), generator=torch.Generator().manual_seed(0))
    return Batch(images, tokens, torch.zeros(size, 2, dtype=torch.int64), tuple(map(str, range(size))), draws)


def views(*changes: str) -> Views:
    made = recipe(*changes)
    return Views(made.model.image, made.training)


def test_by_default_pictures_are_seen_whole() -> None:
    given = batch()
    seen = views()(given, 0)
    assert seen.images is given.images
    assert seen.keep is None


def test_patches_are_left_out_but_in_the_last_steps() -> None:
    half = views("training.drop_patches=0.5", "training.whole=0.1")
    keep = half(batch(), 0).keep
    assert keep is not None
    assert keep.shape == (6, 8)
    assert ((keep[:, 1:] > keep[:, :-1]).all(), keep.min() >= 0, keep.max() < 16) == (True, True, True)
    assert half(batch(), 89).keep is not None
    assert half(batch(), 90).keep is None


def test_which_patches_depends_on_sample_and_step_alone() -> None:
    given = batch()
    whole = choose_patches(given.draws, 7, 49, 25)
    assert torch.equal(choose_patches(given.draws[2:4], 7, 49, 25), whole[2:4])
    assert not torch.equal(choose_patches(given.draws, 8, 49, 25), whole)
    assert len({tuple(row) for row in whole.tolist()}) == 6


def test_every_patch_is_as_likely() -> None:
    draws = torch.randint(2**62, (4000,), generator=torch.Generator().manual_seed(1))
    counts = torch.bincount(choose_patches(draws, 3, 16, 4).flatten(), minlength=16)
    assert counts.sum() == 16000
    assert (counts - 1000).abs().max() < 130  # 4.7 standard deviations


def test_the_first_steps_see_smaller_pictures() -> None:
    growing = views("training.sizes=[[32, 0.5], [48, 0.3]]", "training.drop_patches=0.5")
    sizes = [growing(batch(), step).images.shape[-1] for step in (0, 49, 50, 79, 80, 99)]
    assert sizes == [32, 32, 48, 48, 64, 64]
    keep = growing(batch(), 0).keep
    assert keep is not None
    assert keep.shape == (6, 2)


def test_a_smaller_picture_is_the_mean_of_what_it_covers() -> None:
    flat = batch()
    flat.images[:] = 77
    seen = views("training.sizes=[[32, 1.0]]")(flat, 0)
    assert seen.images.dtype == torch.uint8
    assert torch.equal(seen.images, torch.full((6, 3, 32, 32), 77, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["training.sizes=[[40, 0.5]]"], "40 pixels are no multiple of 16"),
        (["training.sizes=[[80, 0.5]]"], "more than the tower's 64"),
        (["training.sizes=[[32, 0.7], [48, 0.7]]"], "more than 1 together"),
        ([RESNET, "training.drop_patches=0.5"], "needs an image tower of kind 'vit', not 'resnet'"),
    ],
)
def test_what_cannot_be_is_refused(changes: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        views(*changes)

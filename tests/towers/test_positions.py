"""Towers that look at pictures of another size, or at a part of the patches."""

from __future__ import annotations

import pytest
import torch

from sightword.towers.configs import ResNetConfig, ViTConfig
from sightword.towers.positions import resample
from sightword.towers.resnet import ResNet
from sightword.towers.vit import ViT

VIT = ViTConfig(image_size=32, patch=8, width=16, layers=2, heads=2)


def tower(config: ViTConfig = VIT) -> ViT:
    torch.manual_seed(0)
    return ViT(config, 12).eval()


def pictures(size: int = 32) -> torch.Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_the_same_grid_is_left_alone() -> None:
    positions = torch.randn(17, 8)
    assert resample(positions, (4, 4), before=1) is positions


def test_a_plane_stays_a_plane() -> None:
    # Positions that grow from left to right do so in any grid; the row of the class token stays.
    across = torch.arange(4.0).repeat(4)[:, None]
    made = resample(torch.cat([torch.tensor([[9.0]]), across]), (8, 8), before=1)
    assert made.shape == (65, 1)
    assert made[0].item() == 9
    rows = made[1:].reshape(8, 8)
    assert torch.allclose(rows, rows[:1].expand(8, -1), atol=1e-6)
    assert torch.allclose(rows[0, 2:6], torch.tensor([0.75, 1.25, 1.75, 2.25]), atol=0.05)


@pytest.mark.parametrize("config", [VIT, VIT.model_copy(update={"pool": "average", "class_token": False})])
def test_all_patches_kept_is_the_whole_picture(config: ViTConfig) -> None:
    vit, images = tower(config), pictures()
    every = torch.arange(16).expand(3, -1)
    assert torch.allclose(vit(images, every), vit(images), atol=1e-6)


def test_what_is_left_out_makes_no_difference() -> None:
    vit, images = tower(), pictures()
    keep = torch.tensor([[0, 5, 6, 15], [1, 2, 3, 4], [7, 8, 9, 10]])
    before = vit(images, keep)
    for picture, kept in enumerate(keep.tolist()):
        for patch in set(range(16)) - set(kept):
            top, left = 8 * (patch // 4), 8 * (patch % 4)
            images[picture, :, top : top + 8, left : left + 8] = 99
    assert torch.equal(vit(images, keep), before)
    images[0, :, :8, :8] = 99
    assert not torch.allclose(vit(images, keep)[0], before[0])


@pytest.mark.parametrize("size", [16, 48])
def test_a_tower_takes_pictures_of_another_size(size: int) -> None:
    vit = tower()
    assert vit(pictures(size)).shape == (3, 12)
    torch.manual_seed(0)
    resnet = ResNet(ResNetConfig(image_size=64, blocks=(1, 1, 1, 1), width=8, heads=4), 12).eval()
    assert resnet(pictures(2 * size)).shape == (3, 12)


def test_positions_learn_from_another_size() -> None:
    vit = tower().train()
    vit(pictures(16)).sum().backward()
    assert vit.positions.grad is not None
    assert (vit.positions.grad.abs().sum(dim=1) > 0).all()

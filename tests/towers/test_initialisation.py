"""Weights at the start are drawn as published (facts/clip.md, section 1.4)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sightword.towers.dual import MAX_SCALE, DualEncoder
from sightword.towers.presets import preset
from sightword.towers.resnet import ResNet, ResNetConfig
from sightword.towers.text import TextConfig, TextTransformer
from sightword.towers.vit import ViT, ViTConfig

W, LAYERS, D = 256, 3, 192


def std_is(tensor: Tensor, expected: float) -> None:
    # The deviation of n normal draws is off by 1/sqrt(2 n) of itself; five times that, and never under 2 %.
    allowed = max(0.02, 5 / math.sqrt(2 * tensor.numel()))
    assert abs(float(tensor.std()) / expected - 1) < allowed
    assert abs(float(tensor.mean())) < 6 * expected / math.sqrt(tensor.numel())


def uniform_within(tensor: Tensor, bound: float) -> None:
    assert float(tensor.abs().max()) <= bound
    std_is(tensor, bound / math.sqrt(3))


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(20)


@torch.no_grad()
def test_text_tower() -> None:
    tower = TextTransformer(TextConfig(vocabulary=400, context=50, width=W, layers=LAYERS, heads=4), D)
    std_is(tower.tokens.weight, 0.02)
    std_is(tower.positions, 0.01)
    std_is(tower.projection.weight, W**-0.5)
    for block in tower.blocks:
        std_is(block.attention.qkv.weight, W**-0.5)
        std_is(block.attention.out.weight, W**-0.5 * (2 * LAYERS) ** -0.5)
        std_is(block.mlp.fc1.weight, (2 * W) ** -0.5)
        std_is(block.mlp.fc2.weight, W**-0.5 * (2 * LAYERS) ** -0.5)
        assert not block.attention.qkv.bias.any()
        assert not block.attention.out.bias.any()
        # The MLP's biases are the framework's, in this tower too.
        uniform_within(block.mlp.fc1.bias, W**-0.5)
        uniform_within(block.mlp.fc2.bias, (4 * W) ** -0.5)


@torch.no_grad()
def test_vision_transformer() -> None:
    tower = ViT(ViTConfig(image_size=64, patch=8, width=W, layers=LAYERS, heads=4), D)
    for tensor in (tower.class_token, tower.positions, tower.projection.weight):
        std_is(tensor, W**-0.5)
    uniform_within(tower.patches.weight, (3 * 8 * 8) ** -0.5)
    for block in tower.blocks:
        # Xavier-uniform over the fused matrix.
        uniform_within(block.attention.qkv.weight, math.sqrt(6 / (W + 3 * W)))
        assert abs(float(block.attention.qkv.weight.std()) / (2 * W) ** -0.5 - 1) < 0.02
        uniform_within(block.attention.out.weight, W**-0.5)
        uniform_within(block.mlp.fc1.weight, W**-0.5)
        uniform_within(block.mlp.fc2.weight, (4 * W) ** -0.5)
        assert not block.attention.qkv.bias.any()
        assert not block.attention.out.bias.any()
        uniform_within(block.mlp.fc1.bias, W**-0.5)


@torch.no_grad()
def test_modified_resnet() -> None:
    tower = ResNet(ResNetConfig(image_size=64, blocks=(2, 1, 1, 1), width=8, heads=4), D)
    pool = tower.attention_pool
    width = 32 * 8
    for linear in (pool.query, pool.key, pool.value, pool.out):
        std_is(linear.weight, width**-0.5)
        uniform_within(linear.bias, width**-0.5)
    std_is(pool.positions, width**-0.5)
    for stage in tower.layers:
        for block in stage:
            assert not block.norm3.weight.any()
            assert block.norm1.weight.eq(1).all()
            assert block.norm2.weight.eq(1).all()


@torch.no_grad()
def test_norms_begin_as_the_identity() -> None:
    model = DualEncoder(preset("ViT-test"))
    norms = [module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)]
    assert len(norms) == 2 * 2 + 2 + 2 * 2 + 1  # two a block, and the outer ones
    assert all(norm.weight.eq(1).all() and not norm.bias.any() and norm.eps == 1e-5 for norm in norms)


def test_the_temperature_begins_at_seven_hundredths() -> None:
    model = DualEncoder(preset("ViT-test"))
    assert model.log_scale.item() == pytest.approx(2.659260, abs=1e-6)
    assert model.scale.item() == pytest.approx(1 / 0.07, rel=1e-6)
    assert model.log_scale.requires_grad


@pytest.mark.parametrize(
    ("value", "expected"), [(math.log(250.0), MAX_SCALE), (-1.0, 1.0), (math.log(30.0), 30.0), (math.log(100), 100.0)]
)
def test_the_scale_is_kept_from_1_to_100(value: float, expected: float) -> None:
    model = DualEncoder(preset("ViT-test"))
    with torch.no_grad():
        model.log_scale.fill_(value)
    model.clamp_scale()
    assert model.scale.item() == pytest.approx(expected, rel=1e-5)
    assert model.log_scale.requires_grad


def test_one_seed_gives_one_model() -> None:
    models = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        models.append(DualEncoder(preset("ViT-test")).state_dict())
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    assert not torch.equal(models[0]["text.tokens.weight"], models[2]["text.tokens.weight"])

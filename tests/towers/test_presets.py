"""The nine released CLIPs, by their published widths, depths and parameter counts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sightword.errors import RequestError
from sightword.towers.dual import DualEncoder
from sightword.towers.presets import PRESETS, preset
from sightword.towers.resnet import ResNet
from sightword.towers.text import TextTransformer
from sightword.towers.vit import ViT

# facts/clip.md, section 1.1 (the paper's tables 19 and 20; counts of the published code):
# dim, pixels, blocks, widest, heads, patch, text width, text heads, parameters: all, image, text
PUBLISHED = {
    "RN50": (1024, 224, (3, 4, 6, 3), 2048, 32, None, 512, 8, 102_007_137, 38_316_896, 63_690_240),
    "RN101": (512, 224, (3, 4, 23, 3), 2048, 32, None, 512, 8, 119_688_033, 56_259_936, 63_428_096),
    "RN50x4": (640, 288, (4, 6, 10, 6), 2560, 40, None, 640, 10, 178_300_601, 87_137_080, 91_163_520),
    "RN50x16": (768, 384, (6, 8, 18, 8), 3072, 48, None, 768, 12, 290_979_217, 167_328_912, 123_650_304),
    "RN50x64": (1024, 448, (3, 15, 36, 10), 4096, 64, None, 1024, 16, 623_258_305, 420_380_352, 202_877_952),
    "ViT-B/32": (512, 224, 12, 768, 12, 32, 512, 8, 151_277_313, 87_849_216, 63_428_096),
    "ViT-B/16": (512, 224, 12, 768, 12, 16, 512, 8, 149_620_737, 86_192_640, 63_428_096),
    "ViT-L/14": (768, 224, 24, 1024, 16, 14, 768, 12, 427_616_513, 303_966_208, 123_650_304),
    "ViT-L/14@336": (768, 336, 24, 1024, 16, 14, 768, 12, 427_944_193, 304_293_888, 123_650_304),
}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_released_configuration_is_as_published(name: str) -> None:
    dim, pixels, blocks, widest, heads, patch, text_width, text_heads, total, image_count, text_count = PUBLISHED[name]
    config = preset(name)
    with torch.device("meta"):  # shapes without memory
        model = DualEncoder(config)
    assert (count(model), count(model.image), count(model.text)) == (total, image_count, text_count)
    assert (config.embed_dim, config.image.image_size) == (dim, pixels)

    text = model.text
    assert isinstance(text, TextTransformer)
    assert text.tokens.weight.shape == (49_408, text_width)
    assert text.positions.shape == (77, text_width)
    assert len(text.blocks) == 12
    assert {block.attention.heads for block in text.blocks} == {text_heads}
    assert text.projection.weight.shape == (dim, text_width)

    image = model.image
    if patch is None:
        assert isinstance(image, ResNet)
        assert tuple(len(stage) for stage in image.layers) == blocks
        assert image.attention_pool.query.in_features == widest
        assert image.attention_pool.heads == heads
        assert image.attention_pool.positions.shape == ((pixels // 32) ** 2 + 1, widest)
    else:
        assert isinstance(image, ViT)
        assert len(image.blocks) == blocks
        assert image.patches.weight.shape == (widest, 3, patch, patch)
        assert image.positions.shape == ((pixels // patch) ** 2 + 1, widest)
        assert {block.attention.heads for block in image.blocks} == {heads}
    # Every configuration but the tests' own computes with QuickGELU, as the released weights need it.
    assert config.text.activation == "quick_gelu"


def test_an_unknown_preset_lists_the_known() -> None:
    with pytest.raises(RequestError, match=r"no preset is called 'ViT-B-32'; there are .*ViT-B/32"):
        preset("ViT-B-32")


@pytest.mark.parametrize("name", sorted(PRESETS.keys() - PUBLISHED))
def test_a_small_preset_runs(name: str) -> None:
    model = DualEncoder(preset(name)).eval()
    size = preset(name).image.image_size
    vectors = model.encode_image(torch.randn(2, 3, size, size))
    assert vectors.shape == (2, preset(name).embed_dim)
    assert count(model) < 6_000_000

"""LoRA: at first nothing, then a matrix of low rank, which the layer can take over."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch

from sightword.data.pairs import Tokens
from sightword.towers.bert import BertConfig
from sightword.towers.configs import DualEncoderConfig, TextEncoderConfig
from sightword.towers.dual import DualEncoder
from sightword.towers.lora import LoraLayer, LoraLinear, add_lora, merge_lora
from sightword.towers.presets import preset
from sightword.towers.resnet import ResNetConfig

ALL: tuple[LoraLayer, ...] = ("qkv", "out", "fc1", "fc2")
BERT = BertConfig(
    vocabulary=20, positions=9, segments=2, width=8, layers=2, heads=2, mlp_width=16, activation="gelu", eps=1e-5
)
IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
TOKENS = Tokens(torch.randint(1, 20, (3, 6), generator=torch.Generator().manual_seed(1)), torch.tensor([6, 3, 5]))


def model(**changes: Any) -> DualEncoder:
    torch.manual_seed(0)
    return DualEncoder(DualEncoderConfig(**(dict(preset("ViT-test")) | changes))).eval()


def vectors(model: DualEncoder) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        return model.encode_image(IMAGES), model.encode_text(TOKENS)


def train_a_little(model: DualEncoder) -> None:
    """Steps so large that the adapters' part is as large as the layers' own."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=3.0)
    for _ in range(3):
        optimizer.zero_grad()
        (model.encode_image(IMAGES) * model.encode_text(TOKENS).flip(0)).sum().backward()
        optimizer.step()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"image": ResNetConfig(image_size=32, blocks=(1, 1, 1, 1), width=8, heads=2)},
        {"text": TextEncoderConfig(encoder=BERT, context=8)},
    ],
)
def test_adapters_begin_as_nothing_and_end_in_the_weights(changes: dict[str, Any]) -> None:
    plain = model(**changes)
    adapted = deepcopy(plain)
    for tower in (adapted.image, adapted.text):
        tower.lock("none")
        assert add_lora(tower, ALL, rank=2, alpha=4.0)
    assert all(torch.equal(*pair) for pair in zip(vectors(plain), vectors(adapted), strict=True))
    learning = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert all(name.endswith(("down_PrI", "up_POr")) or name == "log_scale" for name in learning)
    before = deepcopy(adapted.state_dict())
    train_a_little(adapted)
    after = adapted.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == learning - {"log_scale"}

    merged = model(**changes)
    merged.load_state_dict(merge_lora(adapted, adapted.state_dict()))
    assert not any(isinstance(module, LoraLinear) for module in merged.modules())
    for was, unmerged, one in zip(vectors(plain), vectors(adapted), vectors(merged), strict=True):
        assert (unmerged - one).abs().max() < 1e-6
        assert (was - one).abs().max() > 1e-3
    assert all(
        torch.equal(tensor, plain.state_dict()[name])
        for name, tensor in merge_lora(plain, merged.state_dict()).items()
        if name.endswith("bias")
    )


def test_queries_keys_and_values_have_adapters_of_their_own() -> None:
    adapted = model()
    tower = adapted.image
    tower.lock("none")
    assert add_lora(tower, ["qkv"], rank=1, alpha=1.0) == 2
    layer = tower.blocks[0].attention.qkv  # pyright: ignore
    assert isinstance(layer, LoraLinear)
    torch.nn.init.normal_(layer.up_POr)
    added = merge_lora(adapted, adapted.state_dict())["image.blocks.0.attention.qkv.weight"] - layer.weight
    assert torch.linalg.matrix_rank(added, rtol=1e-4) == 3
    assert [int(torch.linalg.matrix_rank(part, rtol=1e-4)) for part in added.chunk(3)] == [1, 1, 1]


def test_the_formula() -> None:
    base = torch.nn.Linear(5, 4).double()
    layer = LoraLinear(base, rank=2, alpha=6.0, parts=1)
    torch.nn.init.normal_(layer.up_POr)
    x = torch.randn(7, 5, dtype=torch.float64)
    expected = x @ base.weight.T + base.bias + 3.0 * x @ layer.down_PrI[0].T @ layer.up_POr[0].T
    torch.testing.assert_close(layer(x), expected)

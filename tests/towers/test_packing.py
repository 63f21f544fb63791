"""What training leaves out (padding, unpooled tokens of the last block, temporaries) changes no result and gradient."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor

from sightword.data.pairs import Tokens
from sightword.towers import packing
from sightword.towers.configs import TextConfig, ViTConfig
from sightword.towers.layers import Attention, QuickGELU
from sightword.towers.packing import Packing
from sightword.towers.text import TextTransformer
from sightword.towers.vit import ViT

TEXT = TextConfig(vocabulary=40, context=12, width=16, layers=3, heads=2)


def texts() -> Tokens:
    lengths = torch.tensor([3, 12, 5, 4, 7])
    ids = torch.randint(1, 40, (5, 12), generator=torch.Generator().manual_seed(2))
    return Tokens(ids * (torch.arange(12) < lengths[:, None]), lengths)


def tower(config: TextConfig) -> TextTransformer:
    torch.manual_seed(0)
    return TextTransformer(config, 8).double()


def gradients(made: TextTransformer) -> dict[str, Tensor]:
    weights = torch.randn(5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    (made(texts()) * weights).sum().backward()
    return {name: parameter.grad for name, parameter in made.named_parameters() if parameter.grad is not None}


def plain(made: TextTransformer) -> Tensor:
    """Every token of the padded batch through every block, and the pooled one taken at the end."""
    tokens = texts()
    x_BLW = made.tokens(tokens.ids) + made.positions
    for block in made.blocks:
        x_BLW = block(x_BLW, causal=made.causal)
    at = {"end": tokens.lengths - 1, "first": torch.zeros(5).long(), "last": torch.full((5,), 11)}[made.pool]
    return made.projection(made.norm_out(x_BLW[torch.arange(5), at]))  # type: ignore[no-any-return]


@pytest.mark.parametrize(("pool", "causal"), [("end", True), ("first", True), ("last", False), ("last", True)])
def test_a_text_tower_gives_what_every_token_would(pool: str, causal: bool) -> None:
    made = tower(TEXT.model_copy(update={"pool": pool, "causal": causal}))
    expected = plain(made)
    assert torch.allclose(made(texts()), expected, atol=1e-12)
    with torch.no_grad():
        assert torch.allclose(made(texts()), expected, atol=1e-12)


@pytest.mark.parametrize("sizes", [packing._SIZES, 2])
def test_gradients_do_not_know_that_padding_was_left_out(sizes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_SIZES", sizes)
    # Of two sizes to an octave, the larger one: some of the padding stays.
    assert len(cast(Packing, Packing.of(texts().lengths, 12)).flat) == (32 if sizes == 2 else 31)
    packed = gradients(tower(TEXT))
    monkeypatch.setattr(Packing, "of", lambda *_: None)
    padded = gradients(tower(TEXT))
    assert packed.keys() == padded.keys()
    for name, gradient in packed.items():
        assert torch.allclose(gradient, padded[name], atol=1e-12), name


def test_padding_is_left_out_where_there_is_enough() -> None:
    packing = Packing.of(torch.tensor([3, 12, 5, 4, 7]), 12)
    assert packing is not None
    assert len(packing.flat) == 31
    x_NW = torch.randn(31, 4)
    padded = packing.pad(x_NW)
    assert padded.shape == (5, 12, 4)
    assert not padded[0, 3:].any()
    assert torch.equal(padded[2, :5], x_NW[15:20])
    assert torch.equal(packing.leave_out(padded), x_NW)
    assert Packing.of(torch.tensor([12, 12, 11, 12, 12]), 12) is None


def test_numbers_of_tokens_come_again() -> None:
    """Of a thousand batches few are of sizes of their own: memory is used again, and so is what is made for a size."""
    rng = torch.Generator().manual_seed(0)
    found: set[int] = set()
    for _ in range(1000):
        lengths = torch.randint(5, 25, (128,), generator=rng)
        packed = Packing.of(lengths, 30)
        assert packed is not None
        tokens = int(lengths.sum())
        assert tokens <= len(packed.flat) < 1.04 * tokens
        # Every token is there, in its place and in its order.
        inside = (torch.arange(30) < lengths[:, None]).flatten().nonzero()[:, 0]
        assert torch.isin(inside, packed.flat).all()
        assert torch.equal(packed.flat, packed.flat.sort().values)
        assert torch.equal(packed.flat[packed.first], torch.arange(128) * 30)
        found.add(len(packed.flat))
    assert len(found) <= 16


def test_a_picture_tower_makes_only_what_is_pooled_of_its_last_block() -> None:
    torch.manual_seed(0)
    vit = ViT(ViTConfig(image_size=16, patch=8, width=16, layers=2, heads=2), 8)
    images = torch.randn(3, 3, 16, 16)
    x_BLW = vit.patches(images).flatten(2).transpose(1, 2)
    assert vit.class_token is not None
    x_BLW = torch.cat([vit.class_token.expand(3, 1, -1), x_BLW], dim=1) + vit.positions
    x_BLW = vit.norm_in(x_BLW)
    for block in vit.blocks:
        x_BLW = block(x_BLW)
    assert torch.allclose(vit(images), vit.projection(vit.norm_out(x_BLW[:, 0])), atol=1e-6)


def test_quick_gelu_with_and_without_gradients() -> None:
    x = torch.randn(50, dtype=torch.float64, requires_grad=True)
    act = QuickGELU()
    assert torch.allclose(act(x), x * torch.sigmoid(1.702 * x), atol=1e-14)
    with torch.no_grad():
        assert torch.equal(act(x), x * torch.sigmoid(1.702 * x))
    assert torch.autograd.gradcheck(act, (x,))


@pytest.mark.parametrize("autocast", [False, True])
def test_attention_in_half_precision_is_computed_in_float32(autocast: bool) -> None:
    torch.manual_seed(0)
    full = Attention(64, 4)
    x = torch.randn(2, 9, 64)
    expected = full(x)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        half = full(x) if autocast else full.bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert (half.float() - expected).abs().max() < 0.01 * expected.abs().max() + 0.005

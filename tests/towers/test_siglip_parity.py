"""Attention pooling, both-way text and the towers without projections: transformers' SiglipModel, random weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sightword.config import parse
from sightword.data.pairs import Tokens
from sightword.towers.dual import DualEncoder, DualEncoderConfig
from sightword.towers.text import TextConfig, TextTransformer
from sightword.towers.vit import ViT, ViTConfig
from tests.towers.test_clip_parity import randomise

transformers = pytest.importorskip("transformers", reason="the reference for SigLIP's towers")

CONTEXT = 9
# 27 pixels and a patch of 6: a grid of 4, and a rest that is not seen.
IMAGE = ViTConfig(
    image_size=27, patch=6, width=36, layers=3, heads=3, activation="gelu_tanh", eps=1e-3, class_token=False,
    norm_in=False, patch_bias=True, pool="attention", projection="none",
)  # fmt: skip
TEXT = TextConfig(
    vocabulary=99, context=CONTEXT, width=40, layers=2, heads=5, activation="gelu_tanh", eps=1e-2, causal=False,
    pool="last", projection="bias",
)  # fmt: skip


def reference() -> Any:
    vision = {
        "hidden_size": 36, "intermediate_size": 144, "num_hidden_layers": 3, "num_attention_heads": 3,
        "image_size": 27, "patch_size": 6, "layer_norm_eps": 1e-3,
    }  # fmt: skip
    text = {
        "vocab_size": 99, "hidden_size": 40, "intermediate_size": 160, "num_hidden_layers": 2,
        "num_attention_heads": 5, "max_position_embeddings": CONTEXT, "layer_norm_eps": 1e-2, "projection_size": 36,
    }  # fmt: skip
    torch.manual_seed(0)
    model = transformers.SiglipModel(transformers.SiglipConfig(vision_config=vision, text_config=text)).eval()
    randomise(model)
    return model


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """SiglipModel's names to ours, by hand."""
    vision, text, head = "vision_model", "text_model", "vision_model.head"
    result = {
        "log_scale": weights["logit_scale"].reshape(()),
        "logit_bias": weights["logit_bias"].reshape(()),
        "image.positions": weights[f"{vision}.embeddings.position_embedding.weight"],
        "image.attention_pool.probe": weights[f"{head}.probe"].reshape(-1),
        "text.tokens.weight": weights[f"{text}.embeddings.token_embedding.weight"],
        "text.positions": weights[f"{text}.embeddings.position_embedding.weight"],
    }
    for part in ("weight", "bias"):
        result[f"image.patches.{part}"] = weights[f"{vision}.embeddings.patch_embedding.{part}"]
        result[f"image.norm_out.{part}"] = weights[f"{vision}.post_layernorm.{part}"]
        result[f"text.norm_out.{part}"] = weights[f"{text}.final_layer_norm.{part}"]
        result[f"text.projection.{part}"] = weights[f"{text}.head.{part}"]
        pool = "image.attention_pool"
        thirds = weights[f"{head}.attention.in_proj_{part}"].chunk(3)
        for name, third in zip(("query", "key", "value"), thirds, strict=True):
            result[f"{pool}.{name}.{part}"] = third
        result[f"{pool}.out.{part}"] = weights[f"{head}.attention.out_proj.{part}"]
        result[f"{pool}.norm.{part}"] = weights[f"{head}.layernorm.{part}"]
        for number in (1, 2):
            result[f"{pool}.mlp.fc{number}.{part}"] = weights[f"{head}.mlp.fc{number}.{part}"]
        for ours, theirs, layers in (("image", vision, IMAGE.layers), ("text", text, TEXT.layers)):
            for n in range(layers):
                a, b = f"{ours}.blocks.{n}", f"{theirs}.encoder.layers.{n}"
                result[f"{a}.attention.qkv.{part}"] = torch.cat(
                    [weights[f"{b}.self_attn.{name}_proj.{part}"] for name in "qkv"]
                )
                result[f"{a}.attention.out.{part}"] = weights[f"{b}.self_attn.out_proj.{part}"]
                for number in (1, 2):
                    result[f"{a}.norm{number}.{part}"] = weights[f"{b}.layer_norm{number}.{part}"]
                    result[f"{a}.mlp.fc{number}.{part}"] = weights[f"{b}.mlp.fc{number}.{part}"]
    return result


@pytest.fixture(scope="module")
def both() -> tuple[DualEncoder, Any]:
    theirs = reference()
    ours = DualEncoder(DualEncoderConfig(embed_dim=36, image=IMAGE, text=TEXT, bias=True)).eval()
    ours.load_state_dict(renamed(theirs.state_dict()))
    return ours, theirs


def sentences() -> Tokens:
    return Tokens(torch.randint(1, 97, (4, CONTEXT), generator=torch.Generator().manual_seed(3)), torch.tensor([9] * 4))


@torch.no_grad()
def test_embeddings_are_those_of_transformers(both: tuple[DualEncoder, Any]) -> None:
    ours, theirs = both
    images, tokens = torch.randn(3, 3, 27, 27, generator=torch.Generator().manual_seed(2)), sentences()
    expected = theirs(pixel_values=images, input_ids=tokens.ids)
    image_BD, text_BD = ours.encode_image(images), ours.encode_text(tokens)
    assert (image_BD - expected.image_embeds).abs().max() <= 1e-5
    assert (text_BD - expected.text_embeds).abs().max() <= 1e-5
    assert ours.logit_bias is not None
    logits = ours.scale * image_BD @ text_BD.T + ours.logit_bias
    assert (logits - expected.logits_per_image).abs().max() <= 1e-4
    assert (text_BD @ text_BD.T).fill_diagonal_(0).max() < 0.999
    assert (image_BD @ image_BD.T).fill_diagonal_(0).max() < 0.999


@torch.no_grad()
def test_a_text_that_is_not_padded_is_refused(both: tuple[DualEncoder, Any]) -> None:
    ours, _ = both
    tokens = sentences()
    assert not ours.text.trims
    with pytest.raises(ValueError, match="padded to 9 tokens, not 5"):
        ours.encode_text(Tokens(tokens.ids[:, :5], torch.tensor([5] * 4)))
    # For padding is seen.
    other = tokens.ids.clone()
    other[:, 4] = 98
    assert (ours.encode_text(tokens) - ours.encode_text(Tokens(other, tokens.lengths))).abs().max() > 1e-3


def test_which_towers_may_be_trimmed() -> None:
    told = TEXT.model_dump()
    for causal, pool, trims in ((True, "end", True), (True, "last", False), (False, "end", False)):
        config = TextConfig(**told | {"causal": causal, "pool": pool})
        assert config.trims is TextTransformer(config, 36).trims is trims


@pytest.mark.parametrize("class_token", [True, False])
@torch.no_grad()
def test_the_average_is_of_the_normed_patches(class_token: bool) -> None:
    tower = ViT(IMAGE.model_copy(update={"pool": "average", "class_token": class_token}), 36)
    randomise(tower)
    seen: list[Tensor] = []
    tower.norm_out.register_forward_hook(lambda *found: seen.append(found[2]))
    out = tower(torch.randn(2, 3, 27, 27))
    assert seen[0].shape[1] == 16 + class_token
    assert torch.allclose(out, seen[0][:, int(class_token) :].mean(dim=1))


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        ({"pool": "class"}, "there is no class token"),
        ({"width": 48}, "needs a projection"),
        ({"image_size": 5}, "a patch of 6 pixels in a picture of 5"),
        ({"heads": 5}, "does not divide into 5 heads"),
    ],
)
def test_towers_that_cannot_be(update: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        ViT(IMAGE.model_copy(update=update), 36)


def test_what_an_older_contract_leaves_out_is_clip() -> None:
    old = {"image_size": 24, "patch": 6, "width": 36, "layers": 1, "heads": 3}
    image = parse(ViTConfig, {"kind": "vit", **old}, "old")
    text = parse(TextConfig, {"vocabulary": 9, "context": 4, "width": 36, "layers": 1, "heads": 3}, "old")
    model = DualEncoder(DualEncoderConfig(embed_dim=20, image=image, text=text))
    assert model.logit_bias is None
    tops = {name.removesuffix(".weight").removesuffix(".bias") for name in model.state_dict() if ".blocks." not in name}
    assert tops == {
        "log_scale", "image.class_token", "image.positions", "image.patches", "image.norm_in", "image.norm_out",
        "image.projection", "text.positions", "text.tokens", "text.norm_out", "text.projection",
    }  # fmt: skip
    assert "image.patches.bias" not in model.state_dict()
    assert model.text.trims


def test_a_sigmoid_model_begins_as_published_and_its_scale_is_free() -> None:
    model = DualEncoder(DualEncoderConfig(embed_dim=36, image=IMAGE, text=TEXT, bias=True))
    assert model.logit_bias is not None
    assert (model.scale.item(), model.logit_bias.item()) == (pytest.approx(10.0), -10.0)
    with torch.no_grad():
        model.log_scale.fill_(4.7)  # SigLIP 2 So400m/16: 109.9
    model.clamp_scale()
    assert model.log_scale.item() == pytest.approx(4.7)

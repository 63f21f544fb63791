"""Vision Transformer and text tower against an implementation of others: transformers' CLIPModel, random weights."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightword.data.pairs import Tokens
from sightword.towers.dual import DualEncoder, DualEncoderConfig
from sightword.towers.layers import Activation
from sightword.towers.text import TextConfig
from sightword.towers.vit import ViTConfig

transformers = pytest.importorskip("transformers", reason="the reference for CLIP's transformers")

END, PAD = 97, 0
# A tower of each: an odd number of heads, a picture that is no multiple of its patches' count, three layers.
IMAGE = ViTConfig(image_size=24, patch=6, width=36, layers=3, heads=3)
TEXT = TextConfig(vocabulary=99, context=11, width=40, layers=2, heads=5)


def randomise(module: nn.Module) -> None:
    """Biases and norms too: zeros and ones would hide a missing or a swapped one."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim:
                parameter.copy_(torch.randn_like(parameter) * 0.3 + (parameter.ndim == 1))


def reference(activation: Activation) -> Any:
    act = {"quick_gelu": "quick_gelu", "gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh"}[activation]
    vision = {
        "hidden_size": IMAGE.width, "intermediate_size": 4 * IMAGE.width, "num_hidden_layers": IMAGE.layers,
        "num_attention_heads": IMAGE.heads, "image_size": IMAGE.image_size, "patch_size": IMAGE.patch,
        "hidden_act": act,
    }  # fmt: skip
    text = {
        "vocab_size": TEXT.vocabulary, "hidden_size": TEXT.width, "intermediate_size": 4 * TEXT.width,
        "num_hidden_layers": TEXT.layers, "num_attention_heads": TEXT.heads, "max_position_embeddings": TEXT.context,
        "hidden_act": act, "eos_token_id": END, "bos_token_id": 98, "pad_token_id": PAD,
    }  # fmt: skip
    model = transformers.CLIPModel(transformers.CLIPConfig(vision_config=vision, text_config=text, projection_dim=20))
    randomise(model)
    return model.eval()


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """CLIPModel's names to ours, by hand."""
    result = {
        "log_scale": weights["logit_scale"],
        "image.patches.weight": weights["vision_model.embeddings.patch_embedding.weight"],
        "image.class_token": weights["vision_model.embeddings.class_embedding"],
        "image.positions": weights["vision_model.embeddings.position_embedding.weight"],
        "image.projection.weight": weights["visual_projection.weight"],
        "text.tokens.weight": weights["text_model.embeddings.token_embedding.weight"],
        "text.positions": weights["text_model.embeddings.position_embedding.weight"],
        "text.projection.weight": weights["text_projection.weight"],
    }
    for part in ("weight", "bias"):
        result[f"image.norm_in.{part}"] = weights[f"vision_model.pre_layrnorm.{part}"]
        result[f"image.norm_out.{part}"] = weights[f"vision_model.post_layernorm.{part}"]
        result[f"text.norm_out.{part}"] = weights[f"text_model.final_layer_norm.{part}"]
        for ours, theirs, layers in (("image", "vision_model", IMAGE.layers), ("text", "text_model", TEXT.layers)):
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


@cache
def both(activation: Activation) -> tuple[DualEncoder, Any]:
    theirs = reference(activation)
    update = {"activation": activation}
    config = DualEncoderConfig(embed_dim=20, image=IMAGE.model_copy(update=update), text=TEXT.model_copy(update=update))
    ours = DualEncoder(config).eval()
    ours.load_state_dict(renamed(theirs.state_dict()))
    return ours, theirs


def sentences() -> Tokens:
    lengths = torch.tensor([11, 2, 5, 8])
    ids = torch.randint(1, 97, (4, 11), generator=torch.Generator().manual_seed(3))
    for row, length in enumerate(lengths):
        ids[row, 0], ids[row, length - 1], ids[row, length:] = 98, END, PAD
    return Tokens(ids, lengths)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu", "gelu_tanh"])
@torch.no_grad()
def test_embeddings_are_those_of_transformers(activation: Activation) -> None:
    ours, theirs = both(activation)
    images, tokens = torch.randn(3, 3, 24, 24, generator=torch.Generator().manual_seed(2)), sentences()
    mask = torch.arange(11) < tokens.lengths[:, None]
    expected = theirs(pixel_values=images, input_ids=tokens.ids, attention_mask=mask.long())
    image_BD, text_BD = ours.encode_image(images), ours.encode_text(tokens)
    assert (image_BD - expected.image_embeds).abs().max() <= 1e-5
    assert (text_BD - expected.text_embeds).abs().max() <= 1e-5
    assert (ours.scale * image_BD @ text_BD.T - expected.logits_per_image).abs().max() <= 1e-4
    # The inputs tell apart: agreement is no accident of a collapsed model.
    assert (text_BD @ text_BD.T).fill_diagonal_(0).max() < 0.999
    assert (image_BD @ image_BD.T).fill_diagonal_(0).max() < 0.999


@torch.no_grad()
def test_padding_does_not_change_a_text() -> None:
    ours, _ = both("quick_gelu")
    tokens = sentences()
    whole = ours.encode_text(tokens)
    for row, length in enumerate(tokens.lengths.tolist()):
        alone = ours.encode_text(Tokens(tokens.ids[row : row + 1, :length], tokens.lengths[row : row + 1]))
        assert (alone[0] - whole[row]).abs().max() <= 1e-6
    other_padding = torch.where(torch.arange(11) < tokens.lengths[:, None], tokens.ids, 55)
    assert torch.equal(ours.encode_text(Tokens(other_padding, tokens.lengths)), whole)


@torch.no_grad()
def test_a_text_is_read_from_left_to_right() -> None:
    # Causal: with the end token after three, later tokens have no say; earlier ones do.
    ours, _ = both("quick_gelu")
    tokens = sentences()
    first = Tokens(tokens.ids[:1], torch.tensor([3]))
    later, earlier = first.ids.clone(), first.ids.clone()
    later[0, 5] = 7
    earlier[0, 1] = 7 if int(earlier[0, 1]) != 7 else 8
    vector = ours.encode_text(first)
    assert torch.equal(ours.encode_text(Tokens(later, first.lengths)), vector)
    assert (ours.encode_text(Tokens(earlier, first.lengths)) - vector).abs().max() > 1e-3


@torch.no_grad()
def test_outputs_are_unit_vectors_in_float32() -> None:
    ours, _ = both("quick_gelu")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for vectors in (ours.encode_image(torch.randn(3, 3, 24, 24)), ours.encode_text(sentences())):
            assert vectors.dtype == torch.float32
            assert torch.allclose(vectors.norm(dim=1), torch.ones(len(vectors)), atol=1e-6)
            assert torch.allclose(F.normalize(vectors, dim=1), vectors, atol=1e-6)

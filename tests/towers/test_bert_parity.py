"""The text encoder of the BERT family against transformers' BertModel and RobertaModel, random weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sightword.data.pairs import Tokens
from sightword.errors import CheckpointError
from sightword.towers.backbone import TextEncoder, TextEncoderConfig, load_backbone
from sightword.towers.bert import Bert, bert_config, from_huggingface

transformers = pytest.importorskip("transformers", reason="the reference for BERT and RoBERTa")

SIZES = {
    "vocab_size": 60,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 50,
    "max_position_embeddings": 16,
    "type_vocab_size": 2,
}
PAD = {"bert": 0, "roberta": 1}


def reference(kind: str, act: str) -> Any:
    torch.manual_seed(4)
    prefix = {"bert": "Bert", "roberta": "Roberta"}[kind]
    config = getattr(transformers, f"{prefix}Config")(
        **SIZES, hidden_act=act, layer_norm_eps=1e-5, pad_token_id=PAD[kind], bos_token_id=0, eos_token_id=2
    )
    model = getattr(transformers, f"{prefix}Model")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3 + (parameter.ndim == 1))
    return model


def convert(theirs: Any, pooling: Any = "mean", prefix: str = "") -> Bert:
    config = bert_config(theirs.config.to_dict(), pooling, "config.json")
    weights = {prefix + name: tensor for name, tensor in theirs.state_dict().items()}
    ours = Bert(config).eval()
    load_backbone(ours, from_huggingface(weights, config.layers), "model.safetensors")
    return ours


def tokens(pad: int) -> Tokens:
    lengths = torch.tensor([12, 3, 7, 2])
    ids = torch.randint(5, 60, (4, 12), generator=torch.Generator().manual_seed(1))
    ids[torch.arange(12) >= lengths[:, None]] = pad
    return Tokens(ids, lengths)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("act", ["gelu", "gelu_new"])
@pytest.mark.parametrize("pooling", ["mean", "first"])
@torch.no_grad()
def test_features_are_those_of_transformers(kind: str, act: str, pooling: str) -> None:
    theirs = reference(kind, act)
    batch = tokens(PAD[kind])
    mask = (torch.arange(12) < batch.lengths[:, None]).long()
    states: Tensor = theirs(input_ids=batch.ids, attention_mask=mask).last_hidden_state
    expected = states[:, 0]
    if pooling == "mean":
        expected = torch.stack([row[:length].mean(dim=0) for row, length in zip(states, batch.lengths, strict=True)])
    ours = convert(theirs, pooling)(batch)
    assert (ours - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (ours[0] - ours[1]).abs().max() > 1e-2


@pytest.mark.parametrize("pooling", ["mean", "first"])
@torch.no_grad()
def test_what_is_pooled_after_each_block(pooling: str) -> None:
    theirs, batch = reference("bert", "gelu"), tokens(0)
    config = TextEncoderConfig(encoder=bert_config(theirs.config.to_dict(), pooling, ""), context=12)  # type: ignore[arg-type]
    tower = TextEncoder(config, embed_dim=24).eval()
    load_backbone(tower.backbone, from_huggingface(theirs.state_dict(), 3), "")
    mask = (torch.arange(12) < batch.lengths[:, None]).long()
    states = theirs(input_ids=batch.ids, attention_mask=mask, output_hidden_states=True).hidden_states[1:]
    for found, state in zip(tower.hidden(batch), states, strict=True):
        mean = (state * mask[:, :, None]).sum(dim=1) / batch.lengths[:, None]
        expected = mean if pooling == "mean" else state[:, 0]
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_gradients_are_those_of_transformers_without_the_padding(pooling: str) -> None:
    theirs, batch = reference("bert", "gelu"), tokens(0)
    ours = convert(theirs, pooling)
    seen: list[int] = []
    ours.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].ndim))
    mask = (torch.arange(12) < batch.lengths[:, None]).long()
    states: Tensor = theirs(input_ids=batch.ids, attention_mask=mask).last_hidden_state
    means = (states * mask[:, :, None]).sum(dim=1) / batch.lengths[:, None]
    towards = torch.randn(4, states.shape[2], generator=torch.Generator().manual_seed(2))
    ((states[:, 0] if pooling == "first" else means) * towards).sum().backward()
    (ours(batch) * towards).sum().backward()
    assert seen == [2]  # tokens in one row after the other
    gradients = {name: weight.grad for name, weight in theirs.named_parameters() if weight.grad is not None}
    for name, gradient in from_huggingface(gradients | _unused(theirs, gradients), 3).items():
        found = ours.get_parameter(name).grad
        assert found is not None
        assert (found - gradient).abs().max() <= 1e-5 * gradient.abs().max().clamp(min=1), name


def _unused(theirs: Any, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
    """Zeros for what a loss did not reach."""
    return {name: torch.zeros_like(w) for name, w in theirs.named_parameters() if name not in gradients}


@pytest.mark.parametrize("prefix", ["bert.", "roberta."])
@torch.no_grad()
def test_a_prefix_of_the_names_makes_no_difference(prefix: str) -> None:
    theirs, batch = reference("bert", "gelu"), tokens(0)
    assert torch.equal(convert(theirs, prefix=prefix)(batch), convert(theirs)(batch))


@pytest.mark.parametrize("pooling", ["mean", "first"])
@torch.no_grad()
def test_padding_does_not_change_a_text(pooling: str) -> None:
    ours, batch = convert(reference("bert", "gelu"), pooling), tokens(0)
    whole = ours(batch)
    for row, length in enumerate(batch.lengths.tolist()):
        alone = ours(Tokens(batch.ids[row : row + 1, :length], batch.lengths[row : row + 1]))
        assert (alone[0] - whole[row]).abs().max() <= 1e-5
    filled = torch.where(torch.arange(12) < batch.lengths[:, None], batch.ids, 44)
    assert (ours(Tokens(filled, batch.lengths)) - whole).abs().max() <= 1e-5


@torch.no_grad()
def test_a_joint_space_of_the_encoder_s_width_begins_as_its_own() -> None:
    theirs = reference("bert", "gelu")
    config = TextEncoderConfig(encoder=bert_config(theirs.config.to_dict(), "mean", ""), context=12)
    tower = TextEncoder(config, embed_dim=24).eval()
    load_backbone(tower.backbone, from_huggingface(theirs.state_dict(), 3), "")
    batch = tokens(0)
    assert torch.equal(tower(batch), tower.features(batch))
    assert TextEncoder(config, embed_dim=10)(batch).shape == (4, 10)


def values(**changes: Any) -> dict[str, Any]:
    return {"model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12, **SIZES} | changes


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_type": "gpt2"}, "type 'gpt2' is not known here; known are bert"),
        ({"model_type": None}, "type None is not known"),
        ({"hidden_act": "swish"}, "activation 'swish'"),
        ({"position_embedding_type": "relative_key"}, "only absolute positions"),
    ],
)
def test_an_encoder_of_another_kind_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(CheckpointError, match=f"folder/config.json: .*{reason}"):
        bert_config(values(**changes), "mean", "folder/config.json")


@pytest.mark.parametrize("key", ["hidden_act", "hidden_size", "type_vocab_size"])
def test_a_config_without_a_key_is_refused(key: str) -> None:
    lacking = values()
    del lacking[key]
    with pytest.raises(CheckpointError, match=f"config.json: lacks the key '{key}'"):
        bert_config(lacking, "mean", "config.json")


def test_weights_of_something_else_are_refused() -> None:
    weights = reference("bert", "gelu").state_dict()
    with pytest.raises(CheckpointError, match="not an encoder of the BERT family"):
        from_huggingface({"transformer.wte.weight": torch.zeros(1)}, 3)
    with pytest.raises(CheckpointError, match=r"lack encoder\.layer\.3\.attention\.self\.query\.weight"):
        from_huggingface(weights, 4)


def test_a_context_beyond_the_position_table_is_refused() -> None:
    encoder = bert_config(values(model_type="roberta", pad_token_id=1), "mean", "")
    assert encoder.position_offset == 2
    with pytest.raises(ValueError, match="context of 15 tokens, and the encoder has 14 positions"):
        TextEncoder(TextEncoderConfig(encoder=encoder, context=15), embed_dim=8)

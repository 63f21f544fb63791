"""Transformer text encoders in the Hugging Face layout (BERT: arXiv 1810.04805, and its relatives), without
`transformers`: post-norm blocks over token, position and segment embeddings; the features are pooled over the tokens.

Shapes: B batch, L tokens, W width, N the tokens of all texts without padding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sightword.data.pairs import Tokens
from sightword.errors import CheckpointError
from sightword.towers.configs import BertConfig as BertConfig
from sightword.towers.layers import MLP, Activation, Attention
from sightword.towers.packing import Packing
from sightword.towers.tower import Words

_ACTIVATIONS: dict[str, Activation] = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}
# RoBERTa counts positions from the padding id on.
_POSITION_OFFSET = {"bert": 0, "roberta": 1, "xlm-roberta": 1, "camembert": 1}


_KEYS = (
    "vocab_size",
    "max_position_embeddings",
    "type_vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "layer_norm_eps",
)


class PostNormBlock(nn.Module):
    """norm(x + attention(x)), then norm(x + mlp(x))."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = Attention(config.width, config.heads)
        self.norm1 = nn.LayerNorm(config.width, eps=config.eps)
        self.mlp = MLP(config.width, config.mlp_width, config.activation)
        self.norm2 = nn.LayerNorm(config.width, eps=config.eps)

    def forward(self, x: Tensor, mask: Tensor, packing: Packing | None = None) -> Tensor:
        """x: [B, L, W], or [N, W] with `packing`; the result is like it."""
        x = self.norm1(x + self.attention(x, mask, packing=packing))
        return self.norm2(x + self.mlp(x))


class BertEmbeddings(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.offset = config.position_offset
        self.tokens = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.positions, config.width)
        self.segments = nn.Embedding(config.segments, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.eps)

    def forward(self, ids_BL: Tensor, words: Words | None = None) -> Tensor:
        places = torch.arange(ids_BL.shape[1], device=ids_BL.device) + self.offset
        x_BLW = self.tokens(ids_BL)
        x_BLW = x_BLW if words is None else words.put(x_BLW)
        return self.norm(x_BLW + self.positions(places) + self.segments.weight[0])


class Bert(nn.Module):
    """tokens to features [B, W]."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.pooling = config.pooling
        self.embeddings = BertEmbeddings(config)
        self.blocks = nn.ModuleList(PostNormBlock(config) for _ in range(config.layers))

    def forward(self, tokens: Tokens, words: Words | None = None) -> Tensor:
        inside_BL = torch.arange(tokens.ids.shape[1], device=tokens.ids.device) < tokens.lengths[:, None]
        x_BLW = self.embeddings(tokens.ids, words)
        # Where gradients are wanted: embedding sorts its texts, and what is exported has no shapes that depend on them.
        packing = Packing.of(tokens.lengths, tokens.ids.shape[1]) if torch.is_grad_enabled() else None
        x = x_BLW if packing is None else packing.leave_out(x_BLW)
        for block in self.blocks:
            x = block(x, inside_BL[:, None, None, :], packing)
        return self.pool(x if packing is None else packing.pad(x), tokens)

    def pool(self, x_BLW: Tensor, tokens: Tokens) -> Tensor:
        if self.pooling == "first":
            return x_BLW[:, 0]
        inside_BL = torch.arange(x_BLW.shape[1], device=x_BLW.device) < tokens.lengths[:, None]
        weight_BL1 = inside_BL[:, :, None].to(x_BLW.dtype)
        return (x_BLW * weight_BL1).sum(dim=1) / weight_BL1.sum(dim=1)

    def stages(self) -> list[nn.Module]:
        return [self.embeddings, *self.blocks]


def bert_config(values: Mapping[str, Any], pooling: Literal["mean", "first"], where: str) -> BertConfig:
    """Read a Hugging Face `config.json` of the BERT family."""
    kind = values.get("model_type")
    if kind not in _POSITION_OFFSET:
        known = ", ".join(_POSITION_OFFSET)
        raise CheckpointError(f"{where}: a text encoder of type {kind!r} is not known here; known are {known}")
    if values.get("position_embedding_type", "absolute") != "absolute":
        raise CheckpointError(f"{where}: only absolute positions are known, not {values['position_embedding_type']!r}")
    for key in _KEYS:
        if key not in values:
            raise CheckpointError(f"{where}: lacks the key {key!r} of a BERT config.json")
    if values["hidden_act"] not in _ACTIVATIONS:
        raise CheckpointError(f"{where}: the activation {values['hidden_act']!r} is not known here")
    offset = _POSITION_OFFSET[kind]
    return BertConfig(
        vocabulary=values["vocab_size"],
        positions=values["max_position_embeddings"],
        segments=values["type_vocab_size"],
        width=values["hidden_size"],
        layers=values["num_hidden_layers"],
        heads=values["num_attention_heads"],
        mlp_width=values["intermediate_size"],
        activation=_ACTIVATIONS[values["hidden_act"]],
        eps=values["layer_norm_eps"],
        position_offset=values.get("pad_token_id", 0) + 1 if offset else 0,
        pooling=pooling,
    )


_EMBEDDINGS = {
    "word_embeddings.weight": "tokens.weight",
    "position_embeddings.weight": "positions.weight",
    "token_type_embeddings.weight": "segments.weight",
    "LayerNorm.weight": "norm.weight",
    "LayerNorm.bias": "norm.bias",
}
_LAYER = {
    "attention.output.dense": "attention.out",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "output.LayerNorm": "norm2",
}


def from_huggingface(weights: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Rename a BERT-family state dict, with or without its "bert." or "roberta." prefix. Heads and pooler stay out."""
    prefix = next((p for p in ("", "bert.", "roberta.") if f"{p}embeddings.word_embeddings.weight" in weights), None)
    if prefix is None:
        raise CheckpointError(
            "the weights hold no embeddings.word_embeddings.weight: not an encoder of the BERT family"
        )
    try:
        renamed = {f"embeddings.{new}": weights[f"{prefix}embeddings.{old}"] for old, new in _EMBEDDINGS.items()}
        for number in range(layers):
            old_layer, new_layer = f"{prefix}encoder.layer.{number}", f"blocks.{number}"
            for part in ("weight", "bias"):
                qkv = [weights[f"{old_layer}.attention.self.{name}.{part}"] for name in ("query", "key", "value")]
                renamed[f"{new_layer}.attention.qkv.{part}"] = torch.cat(qkv)
                for old, new in _LAYER.items():
                    renamed[f"{new_layer}.{new}.{part}"] = weights[f"{old_layer}.{old}.{part}"]
    except KeyError as missing:
        raise CheckpointError(f"the encoder's weights lack {missing.args[0]}") from None
    return renamed

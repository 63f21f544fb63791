"""What the folders of transformers' CLIPModel and SiglipModel have in common: their files, the settings of a tower's
blocks in `config.json`, and the names of the blocks' tensors.

Source: configuration_clip.py, configuration_siglip.py and the modeling files of transformers 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict
from torch import Tensor

from sightword.checkpoints.renaming import Rename, both
from sightword.checkpoints.weights import in_float32, read_pickled, read_safetensors, read_shards
from sightword.config import Config, Positive, PositiveFloat
from sightword.errors import CheckpointError
from sightword.towers.configs import Activation, TextConfig, ViTConfig

CONFIG, WEIGHTS = "config.json", "model.safetensors"
INDEX, PICKLED = "model.safetensors.index.json", "pytorch_model.bin"
_ACTIVATIONS: dict[str, Activation] = {
    "quick_gelu": "quick_gelu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
}


class Theirs(Config):
    """Settings of another library, of which only those are read that change what a model computes."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class Blocks(Theirs):
    """Of the blocks of a tower; a model's own class adds its defaults."""

    hidden_size: Positive
    intermediate_size: Positive
    num_hidden_layers: Positive = 12
    num_attention_heads: Positive
    hidden_act: Literal["quick_gelu", "gelu", "gelu_pytorch_tanh", "gelu_new"]
    layer_norm_eps: PositiveFloat

    def ours(self) -> dict[str, Any]:
        """As a ViTConfig and a TextConfig say it."""
        return {
            "width": self.hidden_size,
            "layers": self.num_hidden_layers,
            "heads": self.num_attention_heads,
            "mlp_ratio": mlp_ratio(self.hidden_size, self.intermediate_size),
            "activation": _ACTIVATIONS[self.hidden_act],
            "eps": self.layer_norm_eps,
        }


def block_settings(config: ViTConfig | TextConfig) -> dict[str, Any]:
    """The way back."""
    return {
        "hidden_size": config.width,
        "intermediate_size": int(config.width * config.mlp_ratio),
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "hidden_act": "gelu_pytorch_tanh" if config.activation == "gelu_tanh" else config.activation,
        "layer_norm_eps": config.eps,
        "attention_dropout": 0.0,
    }


def mlp_ratio(width: int, hidden: int) -> float:
    """A ratio of which int(width * ratio) is `hidden`, also where the division does not come out even."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width


def section(values: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    # transformers gives `text_config_dict`, where an old file has it, the last word, its defaults included.
    found = values.get(f"{name}_dict")
    found = values.get(name) if found is None else found
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: {name} holds no settings")
    return found


def read_weights(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    """The file that counts, and its tensors in float32."""
    if (folder / WEIGHTS).is_file():
        path, weights = folder / WEIGHTS, read_safetensors(folder / WEIGHTS)
    elif (folder / INDEX).is_file():
        path, weights = folder / INDEX, read_shards(folder / INDEX)
    elif (folder / PICKLED).is_file():
        path, weights = folder / PICKLED, read_pickled(folder / PICKLED)
    else:
        raise CheckpointError(f"{folder}: lacks the weights: {WEIGHTS}, {INDEX} with its files, or {PICKLED}")
    # Old files carry the row numbers of the position tables.
    kept = {name: tensor for name, tensor in weights.items() if not name.endswith("embeddings.position_ids")}
    return path, in_float32(kept)


def common_names(image_layers: int, text_layers: int) -> list[Rename]:
    """The tensors that both models call the same."""
    vision, text = "vision_model", "text_model"
    table = [
        Rename("image.patches.weight", f"{vision}.embeddings.patch_embedding.weight"),
        Rename("image.positions", f"{vision}.embeddings.position_embedding.weight"),
        Rename("text.tokens.weight", f"{text}.embeddings.token_embedding.weight"),
        Rename("text.positions", f"{text}.embeddings.position_embedding.weight"),
        *both("image.norm_out", f"{vision}.post_layernorm"),
        *both("text.norm_out", f"{text}.final_layer_norm"),
    ]
    for tower, theirs, layers in (("image", vision, image_layers), ("text", text, text_layers)):
        for number in range(layers):
            a, b = f"{tower}.blocks.{number}", f"{theirs}.encoder.layers.{number}"
            table += both(f"{a}.attention.qkv", *(f"{b}.self_attn.{name}_proj" for name in "qkv"))
            table += both(f"{a}.attention.out", f"{b}.self_attn.out_proj")
            table += both(f"{a}.norm1", f"{b}.layer_norm1") + both(f"{a}.norm2", f"{b}.layer_norm2")
            table += both(f"{a}.mlp.fc1", f"{b}.mlp.fc1") + both(f"{a}.mlp.fc2", f"{b}.mlp.fc2")
    return table

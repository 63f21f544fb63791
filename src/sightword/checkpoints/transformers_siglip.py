"""Repositories of transformers' SiglipModel: SigLIP (arXiv 2303.15343), and SigLIP 2 (arXiv 2502.14786) in its fixed
resolutions. `config.json`, `model.safetensors`, `tokenizer.json`, `preprocessor_config.json`.

Sources: configuration_siglip.py, modeling_siglip.py and tokenization_siglip.py of transformers 5; the settings that a
file leaves out have the values that SiglipConfig and SiglipImageProcessor give them. The special ids of text_config
mean nothing (they are CLIP's): those of the tokenizer's files count.

The texts: no start token, one end token, padded on the right to the full context, and no mask: the padding is seen,
and the last position pooled. They are cleaned as SiglipTokenizer does where a repository names that. Otherwise they are
brought to lower case, as the authors trained both models (big_vision), also where the tokenizer that transformers takes
for a repository (Gemma's, for SigLIP 2) would leave them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field

from sightword.checkpoints.contract import Contract, check_contract, check_vocabulary
from sightword.checkpoints.kinds import kind_of, siglip_image, siglip_text
from sightword.checkpoints.renaming import Rename, both, to_ours, to_theirs
from sightword.checkpoints.tokens_siglip import read_siglip_tokenizer, told_clean, write_siglip_tokenizer
from sightword.checkpoints.transformers_files import (
    CONFIG,
    WEIGHTS,
    Blocks,
    block_settings,
    common_names,
    read_weights,
    section,
)
from sightword.checkpoints.transformers_images import PREPROCESSOR, SIGLIP, image_settings, read_images
from sightword.checkpoints.vocabulary import TOKENIZER
from sightword.checkpoints.weights import (
    check_weights,
    empty_model,
    read_json,
    with_shape,
    write_json,
    write_safetensors,
)
from sightword.config import Positive, PositiveFloat, parse
from sightword.data.tokenizer import Tokenizer
from sightword.errors import CheckpointError, RequestError
from sightword.files import whole_folder
from sightword.towers.dual import DualEncoder, DualEncoderConfig

MODEL_TYPE = "siglip"


class _Tower(Blocks):
    hidden_size: Positive = 768
    intermediate_size: Positive = 3072
    num_attention_heads: Positive = 12
    hidden_act: Literal["quick_gelu", "gelu", "gelu_pytorch_tanh", "gelu_new"] = "gelu_pytorch_tanh"
    layer_norm_eps: PositiveFloat = 1e-6


class _Vision(_Tower):
    num_channels: Literal[3] = 3
    image_size: Positive = 224
    patch_size: Positive = 16
    vision_use_head: Literal[True] = True


class _Text(_Tower):
    vocab_size: Positive = 32_000
    max_position_embeddings: Annotated[int, Field(ge=3)] = 64
    projection_size: Positive | None = None


def load_transformers_siglip(folder: Path) -> tuple[DualEncoder, Contract, Tokenizer]:
    """Read a folder and check it whole. Raises CheckpointError.

    The model is in evaluation mode, in fp32, on the CPU.
    """
    config = folder / CONFIG
    values = read_json(config)
    vision = parse(_Vision, section(values, "vision_config", config), f"{config}: vision_config", CheckpointError)
    text = parse(_Text, section(values, "text_config", config), f"{config}: text_config", CheckpointError)
    projection = text.projection_size or text.hidden_size
    if projection != vision.hidden_size:
        raise CheckpointError(
            f"{config}: texts are projected to {projection} dimensions (text_config.projection_size), and pictures "
            f"have {vision.hidden_size} (vision_config.hidden_size)"
        )
    architecture = DualEncoderConfig(
        embed_dim=vision.hidden_size,
        image=siglip_image(vision.image_size, vision.patch_size, **vision.ours()),
        text=siglip_text(text.vocab_size, text.max_position_embeddings, **text.ours()),
        bias=True,
    )
    tokenizer = read_siglip_tokenizer(folder, text.max_position_embeddings, told_clean(folder))
    contract = Contract(
        architecture=architecture,
        image=read_images(folder, vision.image_size, SIGLIP),
        text=tokenizer.spec,
        provenance={"family": "transformers SiglipModel"},
    )
    check_contract(contract, config)
    check_vocabulary(contract, tokenizer, folder, (TOKENIZER, CONFIG))
    model = empty_model(architecture, config)
    path, weights = read_weights(folder)
    weights = with_shape(weights, ("logit_scale", "logit_bias"), (1,))
    table = _table(vision.num_hidden_layers, text.num_hidden_layers)
    check_weights(weights, to_theirs(table, model.state_dict()), path, CONFIG)
    model.load_state_dict(to_ours(table, weights), assign=True)
    return model.eval(), contract, tokenizer


def save_transformers_siglip(folder: str | Path, model: DualEncoder, contract: Contract, tokenizer: Tokenizer) -> None:
    """Write a folder for SiglipModel.from_pretrained, whole; one that is there already is replaced.

    Raises RequestError for a model that SiglipModel cannot express.
    """
    with whole_folder(Path(folder)) as temporary:
        write_transformers_siglip(temporary, model, contract, tokenizer)


def write_transformers_siglip(folder: Path, model: DualEncoder, contract: Contract, tokenizer: Tokenizer) -> None:
    """Write the files into a folder that is there."""
    architecture, spec = contract.architecture, contract.text
    image, text = architecture.image, architecture.text
    if kind_of(architecture) != "siglip" or image.kind != "vit" or text.kind != "transformer":
        raise RequestError("transformers' SiglipModel is SigLIP, and this model is built otherwise")
    settings = {
        "architectures": ["SiglipModel"],
        "model_type": MODEL_TYPE,
        "dtype": "float32",
        "vision_config": {
            "model_type": "siglip_vision_model",
            "num_channels": 3,
            "image_size": image.image_size,
            "patch_size": image.patch,
            **block_settings(image),
        },
        "text_config": {
            "model_type": "siglip_text_model",
            "vocab_size": text.vocabulary,
            "max_position_embeddings": text.context,
            "projection_size": architecture.embed_dim,
            "bos_token_id": spec.start_id,
            "eos_token_id": spec.end_id,
            "pad_token_id": spec.pad_id,
            **block_settings(text),
        },
    }
    weights = {name: tensor.detach().cpu().float() for name, tensor in model.state_dict().items()}
    if text.projection == "none":
        # SiglipModel always has one: that which changes nothing.
        weights["text.projection.weight"] = torch.eye(architecture.embed_dim)
        weights["text.projection.bias"] = torch.zeros(architecture.embed_dim)
    write_safetensors(folder / WEIGHTS, to_theirs(_table(image.layers, text.layers), weights))
    write_json(folder / CONFIG, settings)
    write_json(folder / PREPROCESSOR, image_settings(contract.image, SIGLIP))
    write_siglip_tokenizer(folder, tokenizer)


def _table(vision_layers: int, text_layers: int) -> list[Rename]:
    pool, head = "image.attention_pool", "vision_model.head"
    table = [
        Rename("log_scale", "logit_scale", axes=1),
        Rename("logit_bias", "logit_bias", axes=1),
        Rename("image.patches.bias", "vision_model.embeddings.patch_embedding.bias"),
        Rename(f"{pool}.probe", f"{head}.probe", axes=2),
        *both(f"{pool}.out", f"{head}.attention.out_proj"),
        *both(f"{pool}.norm", f"{head}.layernorm"),
        *both(f"{pool}.mlp.fc1", f"{head}.mlp.fc1"),
        *both(f"{pool}.mlp.fc2", f"{head}.mlp.fc2"),
        *both("text.projection", "text_model.head"),
        *common_names(vision_layers, text_layers),
    ]
    for part in ("weight", "bias"):
        ours = tuple(f"{pool}.{name}.{part}" for name in ("query", "key", "value"))
        table.append(Rename(ours, f"{head}.attention.in_proj_{part}"))
    return table

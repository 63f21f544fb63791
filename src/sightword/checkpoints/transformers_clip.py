"""Repositories of transformers' CLIPModel: `config.json`, `model.safetensors`, `tokenizer.json`,
`preprocessor_config.json`.

Sources: configuration_clip.py, modeling_clip.py and image_processing_clip.py of transformers 5; the settings that a
file leaves out have the values that CLIPConfig and CLIPImageProcessor give them. CLIPModel is softmax CLIP with a
Vision Transformer; it has no ResNet.

The end of a text: CLIPModel pools at the first token with the id text_config.eos_token_id. Repositories from before
this was so say 2 there; for them, and whatever their tokenizer calls token 2, it pools at the largest id.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from sightword.checkpoints.contract import Contract, check_contract, check_vocabulary
from sightword.checkpoints.kinds import kind_of
from sightword.checkpoints.renaming import Rename, both, to_ours, to_theirs
from sightword.checkpoints.tokens import is_largest, make_tokenizer, read_tokenizer, write_tokenizer
from sightword.checkpoints.transformers_files import (
    CONFIG,
    WEIGHTS,
    Blocks,
    block_settings,
    common_names,
    read_weights,
    section,
)
from sightword.checkpoints.transformers_images import CLIP, PREPROCESSOR, image_settings, read_images
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
from sightword.towers.configs import DualEncoderConfig, TextConfig, ViTConfig
from sightword.towers.dual import DualEncoder

MODEL_TYPE = "clip"
LEGACY_END = 2


class _Tower(Blocks):
    hidden_act: Literal["quick_gelu", "gelu", "gelu_pytorch_tanh", "gelu_new"] = "quick_gelu"
    layer_norm_eps: PositiveFloat = 1e-5


class _Vision(_Tower):
    hidden_size: Positive = 768
    intermediate_size: Positive = 3072
    num_attention_heads: Positive = 12
    num_channels: Literal[3] = 3
    image_size: Positive = 224
    patch_size: Positive = 32


class _Text(_Tower):
    hidden_size: Positive = 512
    intermediate_size: Positive = 2048
    num_attention_heads: Positive = 8
    vocab_size: Positive = 49_408
    max_position_embeddings: Annotated[int, Field(ge=3)] = 77
    bos_token_id: int | None = 49_406
    eos_token_id: int = 49_407


def load_transformers_clip(folder: Path) -> tuple[DualEncoder, Contract, Tokenizer]:
    """Read a folder and check it whole. Raises CheckpointError.

    The model is in evaluation mode, in fp32, on the CPU.
    """
    config = folder / CONFIG
    values = read_json(config)
    vision = parse(_Vision, section(values, "vision_config", config), f"{config}: vision_config", CheckpointError)
    text = parse(_Text, section(values, "text_config", config), f"{config}: text_config", CheckpointError)
    embed_dim = values.get("projection_dim", 512)
    if not isinstance(embed_dim, int) or embed_dim < 1:
        raise CheckpointError(f"{config}: projection_dim: {embed_dim!r} is no number of dimensions")
    architecture = DualEncoderConfig(
        embed_dim=embed_dim,
        image=ViTConfig(image_size=vision.image_size, patch=vision.patch_size, **vision.ours()),
        text=TextConfig(vocabulary=text.vocab_size, context=text.max_position_embeddings, **text.ours()),
    )
    tokenizer = _tokenizer(folder, text)
    contract = Contract(
        architecture=architecture,
        image=read_images(folder, vision.image_size, CLIP),
        text=tokenizer.spec,
        provenance={"family": "transformers CLIPModel"},
    )
    check_contract(contract, config)
    check_vocabulary(contract, tokenizer, folder, (TOKENIZER, CONFIG))
    model = empty_model(architecture, config)
    path, weights = read_weights(folder)
    table = _table(vision.num_hidden_layers, text.num_hidden_layers)
    weights = with_shape(weights, ("logit_scale",), ())
    check_weights(weights, to_theirs(table, model.state_dict()), path, CONFIG)
    model.load_state_dict(to_ours(table, weights), assign=True)
    return model.eval(), contract, tokenizer


def save_transformers_clip(folder: str | Path, model: DualEncoder, contract: Contract, tokenizer: Tokenizer) -> None:
    """Write a folder for CLIPModel.from_pretrained, whole; one that is there already is replaced.

    Raises RequestError for a model that CLIPModel cannot express.
    """
    with whole_folder(Path(folder)) as temporary:
        write_transformers_clip(temporary, model, contract, tokenizer)


def write_transformers_clip(folder: Path, model: DualEncoder, contract: Contract, tokenizer: Tokenizer) -> None:
    """Write the files into a folder that is there."""
    image, text, spec = contract.architecture.image, contract.architecture.text, contract.text
    if image.kind != "vit" or text.kind != "transformer":
        kind = {"resnet": "a ResNet", "backbone": "a pretrained backbone", "vit": "a pretrained text encoder"}
        way_out = "; --to open_clip can hold it" if image.kind == "resnet" and text.kind == "transformer" else ""
        raise RequestError(
            f"transformers' CLIPModel is two transformers of CLIP, and this model has {kind[image.kind]}: it cannot be "
            f"written so{way_out}"
        )
    if kind_of(contract.architecture) != "clip":
        raise RequestError(
            "transformers' CLIPModel is CLIP with its own two towers, and this model is built otherwise: it cannot be "
            "written so"
        )
    if spec.end_id == LEGACY_END and not is_largest(tokenizer.engine, spec.end_id):
        raise RequestError(
            "the end token has the id 2, which CLIPModel takes for a sign of old files and then pools at the largest "
            "id: this model cannot be written so"
        )
    preprocessing = image_settings(contract.image, CLIP)
    settings = {
        "architectures": ["CLIPModel"],
        "model_type": MODEL_TYPE,
        "projection_dim": contract.architecture.embed_dim,
        "logit_scale_init_value": math.log(1 / 0.07),
        "dtype": "float32",
        "vision_config": {
            "model_type": "clip_vision_model",
            "num_channels": 3,
            "image_size": image.image_size,
            "patch_size": image.patch,
            "projection_dim": contract.architecture.embed_dim,
            **block_settings(image),
        },
        "text_config": {
            "model_type": "clip_text_model",
            "vocab_size": text.vocabulary,
            "max_position_embeddings": text.context,
            "bos_token_id": spec.start_id,
            "eos_token_id": spec.end_id,
            "pad_token_id": spec.pad_id,
            "projection_dim": contract.architecture.embed_dim,
            **block_settings(text),
        },
    }
    table = _table(image.layers, text.layers)
    weights = {name: tensor.detach().cpu().float() for name, tensor in model.state_dict().items()}
    write_safetensors(folder / WEIGHTS, to_theirs(table, weights))
    write_json(folder / CONFIG, settings)
    write_json(folder / PREPROCESSOR, preprocessing)
    write_tokenizer(folder, tokenizer)


def _tokenizer(folder: Path, text: _Text) -> Tokenizer:
    engine, special = read_tokenizer(folder)
    if text.eos_token_id == LEGACY_END:
        # The ids of such a file mean nothing (0 and 2): the tokenizer's count, if pooling at the largest is the same.
        if not is_largest(engine, special.end_id):
            raise CheckpointError(
                f"{folder / CONFIG}: text_config.eos_token_id is {LEGACY_END}, with which transformers pools at the "
                f"largest id of a text, and {special.end_token!r} ({special.end_id}) is not the largest of {TOKENIZER}"
            )
    else:
        for name, token, expected, found in (
            ("bos_token_id", special.start_token, text.bos_token_id, special.start_id),
            ("eos_token_id", special.end_token, text.eos_token_id, special.end_id),
        ):
            if found != expected:
                raise CheckpointError(
                    f"{folder}: text_config.{name} is {expected} in {CONFIG}, but {token!r} has the id {found} in "
                    f"{TOKENIZER}: they do not belong together"
                )
    pad_id = special.end_id if special.pad_id is None else special.pad_id
    return make_tokenizer(engine, special, text.max_position_embeddings, pad_id)


def _table(vision_layers: int, text_layers: int) -> list[Rename]:
    return [
        Rename("log_scale", "logit_scale"),
        Rename("image.class_token", "vision_model.embeddings.class_embedding"),
        Rename("image.projection.weight", "visual_projection.weight"),
        Rename("text.projection.weight", "text_projection.weight"),
        *both("image.norm_in", "vision_model.pre_layrnorm"),  # spelled so
        *common_names(vision_layers, text_layers),
    ]

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
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from sightword.checkpoints.contract import Contract, check_contract
from sightword.checkpoints.renaming import Rename, both, to_ours, to_theirs
from sightword.checkpoints.tokens import is_largest, make_tokenizer, read_tokenizer, write_tokenizer
from sightword.checkpoints.vocabulary import TOKENIZER
from sightword.checkpoints.weights import (
    check_vocabulary,
    check_weights,
    empty_model,
    in_float32,
    read_json,
    read_pickled,
    read_safetensors,
    read_shards,
    scalar,
    write_json,
    write_safetensors,
)
from sightword.config import Config, Positive, PositiveFloat, parse
from sightword.data.images import ImageSpec
from sightword.data.tokenizer import Tokenizer
from sightword.errors import CheckpointError, RequestError
from sightword.files import whole_folder
from sightword.towers.dual import DualEncoder, DualEncoderConfig
from sightword.towers.layers import Activation
from sightword.towers.text import TextConfig
from sightword.towers.vit import ViTConfig

CONFIG, WEIGHTS, PREPROCESSOR = "config.json", "model.safetensors", "preprocessor_config.json"
INDEX, PICKLED = "model.safetensors.index.json", "pytorch_model.bin"
MODEL_TYPE = "clip"
LEGACY_END = 2
_ACTIVATIONS: dict[str, Activation] = {
    "quick_gelu": "quick_gelu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
}
_PROCESSORS = ("CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil", "CLIPFeatureExtractor")
_FILTERS: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers


class _Theirs(Config):
    """Settings of another library, of which only those are read that change what a model computes."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class _Tower(_Theirs):
    num_hidden_layers: Positive = 12
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


class _Preprocessor(_Theirs):
    do_resize: Literal[True] = True
    size: int | dict[str, int] = Field(default_factory=lambda: {"shortest_edge": 224})
    resample: Literal[2, 3] = 3
    do_center_crop: bool = True
    crop_size: int | dict[str, int] = Field(default_factory=lambda: {"height": 224, "width": 224})
    do_rescale: Literal[True] = True
    rescale_factor: float = 1 / 255
    do_normalize: bool = True
    image_mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    image_std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    do_pad: Literal[False] | None = None
    use_square_size: bool = False


def load_transformers_clip(folder: Path) -> tuple[DualEncoder, Contract, Tokenizer]:
    """Read a folder and check it whole. Raises CheckpointError.

    The model is in evaluation mode, in fp32, on the CPU.
    """
    config = folder / CONFIG
    values = read_json(config)
    vision = parse(_Vision, _section(values, "vision_config", config), f"{config}: vision_config", CheckpointError)
    text = parse(_Text, _section(values, "text_config", config), f"{config}: text_config", CheckpointError)
    embed_dim = values.get("projection_dim", 512)
    if not isinstance(embed_dim, int) or embed_dim < 1:
        raise CheckpointError(f"{config}: projection_dim: {embed_dim!r} is no number of dimensions")
    architecture = DualEncoderConfig(
        embed_dim=embed_dim,
        image=ViTConfig(
            image_size=vision.image_size,
            patch=vision.patch_size,
            width=vision.hidden_size,
            layers=vision.num_hidden_layers,
            heads=vision.num_attention_heads,
            mlp_ratio=mlp_ratio(vision.hidden_size, vision.intermediate_size),
            activation=_ACTIVATIONS[vision.hidden_act],
            eps=vision.layer_norm_eps,
        ),
        text=TextConfig(
            vocabulary=text.vocab_size,
            context=text.max_position_embeddings,
            width=text.hidden_size,
            layers=text.num_hidden_layers,
            heads=text.num_attention_heads,
            mlp_ratio=mlp_ratio(text.hidden_size, text.intermediate_size),
            activation=_ACTIVATIONS[text.hidden_act],
            eps=text.layer_norm_eps,
        ),
    )
    tokenizer = _tokenizer(folder, text)
    contract = Contract(
        architecture=architecture,
        image=_image_spec(folder, vision.image_size),
        text=tokenizer.spec,
        provenance={"family": "transformers CLIPModel"},
    )
    check_contract(contract, config)
    check_vocabulary(contract, tokenizer, folder, (TOKENIZER, CONFIG))
    model = empty_model(architecture, config)
    path, weights = _weights(folder)
    # Old files carry the row numbers of the position tables.
    weights = {name: tensor for name, tensor in weights.items() if not name.endswith("embeddings.position_ids")}
    table = _table(vision.num_hidden_layers, text.num_hidden_layers)
    weights = scalar(in_float32(weights), "logit_scale")
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
    if spec.end_id == LEGACY_END and not is_largest(tokenizer.engine, spec.end_id):
        raise RequestError(
            "the end token has the id 2, which CLIPModel takes for a sign of old files and then pools at the largest "
            "id: this model cannot be written so"
        )
    acts: dict[Activation, str] = {"quick_gelu": "quick_gelu", "gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh"}
    preprocessing = _preprocessing(contract.image)
    common = {"projection_dim": contract.architecture.embed_dim, "attention_dropout": 0.0}
    settings = {
        "architectures": ["CLIPModel"],
        "model_type": MODEL_TYPE,
        "projection_dim": contract.architecture.embed_dim,
        "logit_scale_init_value": math.log(1 / 0.07),
        "dtype": "float32",
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": image.width,
            "intermediate_size": int(image.width * image.mlp_ratio),
            "num_hidden_layers": image.layers,
            "num_attention_heads": image.heads,
            "num_channels": 3,
            "image_size": image.image_size,
            "patch_size": image.patch,
            "hidden_act": acts[image.activation],
            "layer_norm_eps": image.eps,
            **common,
        },
        "text_config": {
            "model_type": "clip_text_model",
            "vocab_size": text.vocabulary,
            "hidden_size": text.width,
            "intermediate_size": int(text.width * text.mlp_ratio),
            "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads,
            "max_position_embeddings": text.context,
            "hidden_act": acts[text.activation],
            "layer_norm_eps": text.eps,
            "bos_token_id": spec.start_id,
            "eos_token_id": spec.end_id,
            "pad_token_id": spec.pad_id,
            **common,
        },
    }
    table = _table(image.layers, text.layers)
    weights = {name: tensor.detach().cpu().float() for name, tensor in model.state_dict().items()}
    write_safetensors(folder / WEIGHTS, to_theirs(table, weights))
    write_json(folder / CONFIG, settings)
    write_json(folder / PREPROCESSOR, preprocessing)
    write_tokenizer(folder, tokenizer)


def mlp_ratio(width: int, hidden: int) -> float:
    """A ratio of which int(width * ratio) is `hidden`, also where the division does not come out even."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width


def _section(values: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    # transformers gives `text_config_dict`, where an old file has it, the last word, its defaults included.
    section = values.get(f"{name}_dict")
    section = values.get(name) if section is None else section
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise CheckpointError(f"{path}: {name} holds no settings")
    return section


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


def _image_spec(folder: Path, image_size: int) -> ImageSpec:
    path = folder / PREPROCESSOR
    # transformers 5 may keep all settings of a processor in one file.
    joint = folder / "processor_config.json"
    if not path.is_file() and joint.is_file():
        path, values = joint, read_json(joint).get("image_processor")
        if not isinstance(values, dict):
            raise CheckpointError(f"{joint}: holds no image_processor, and {PREPROCESSOR} is not there")
    elif not path.is_file():
        raise CheckpointError(f"{folder}: lacks {PREPROCESSOR}, which says how pictures become the model's input")
    else:
        values = read_json(path)
    kind = values.get("image_processor_type") or values.get("feature_extractor_type") or _PROCESSORS[0]
    if kind not in _PROCESSORS:
        raise CheckpointError(f"{path}: the image processor {kind!r} is not known here; known is {_PROCESSORS[0]}")
    told = parse(_Preprocessor, values, str(path), CheckpointError)
    size = {"shortest_edge": told.size} if isinstance(told.size, int) else told.size
    crop = {"height": told.crop_size, "width": told.crop_size} if isinstance(told.crop_size, int) else told.crop_size
    if told.use_square_size and "shortest_edge" in size:
        size = {"height": size["shortest_edge"], "width": size["shortest_edge"]}
    square = {"height": image_size, "width": image_size}
    squash = size == square and (not told.do_center_crop or crop == square)
    shortest = size == {"shortest_edge": image_size} and told.do_center_crop and crop == square
    if not squash and not shortest:
        raise CheckpointError(
            f"{path}: resizes to {size} and crops {crop if told.do_center_crop else 'nothing'}, and the image tower "
            f"takes {image_size} x {image_size} pixels: only the shorter side or both sides brought to that are known"
        )
    if not math.isclose(told.rescale_factor, 1 / 255, rel_tol=1e-6):
        raise CheckpointError(f"{path}: rescale_factor is {told.rescale_factor}; only 1/255 is known")
    return ImageSpec(
        size=image_size,
        resize="squash" if squash else "shortest",
        interpolation=_FILTERS[told.resample],
        mean=told.image_mean if told.do_normalize else (0.0, 0.0, 0.0),
        std=told.image_std if told.do_normalize else (1.0, 1.0, 1.0),
        background=None,
        orient=False,
        offset="floor",
    )


def _preprocessing(spec: ImageSpec) -> dict[str, Any]:
    if spec.resize == "longest":
        raise RequestError(
            "the model's pictures are padded to a square, and CLIPImageProcessor cannot do that: it cannot be written "
            "so; --to open_clip can hold it"
        )
    square = {"height": spec.size, "width": spec.size}
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": square if spec.resize == "squash" else {"shortest_edge": spec.size},
        "resample": 3 if spec.interpolation == "bicubic" else 2,
        "do_center_crop": spec.resize == "shortest",
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
        "do_convert_rgb": True,
    }


def _weights(folder: Path) -> tuple[Path, dict[str, Any]]:
    if (folder / WEIGHTS).is_file():
        return folder / WEIGHTS, read_safetensors(folder / WEIGHTS)
    if (folder / INDEX).is_file():
        return folder / INDEX, read_shards(folder / INDEX)
    if (folder / PICKLED).is_file():
        return folder / PICKLED, read_pickled(folder / PICKLED)
    raise CheckpointError(f"{folder}: lacks the weights: {WEIGHTS}, {INDEX} with its files, or {PICKLED}")


def _table(vision_layers: int, text_layers: int) -> list[Rename]:
    one = (
        ("log_scale", "logit_scale"),
        ("image.patches.weight", "vision_model.embeddings.patch_embedding.weight"),
        ("image.class_token", "vision_model.embeddings.class_embedding"),
        ("image.positions", "vision_model.embeddings.position_embedding.weight"),
        ("image.projection.weight", "visual_projection.weight"),
        ("text.tokens.weight", "text_model.embeddings.token_embedding.weight"),
        ("text.positions", "text_model.embeddings.position_embedding.weight"),
        ("text.projection.weight", "text_projection.weight"),
    )
    table = [Rename(ours, (theirs,)) for ours, theirs in one]
    table += both("image.norm_in", "vision_model.pre_layrnorm")  # spelled so
    table += both("image.norm_out", "vision_model.post_layernorm")
    table += both("text.norm_out", "text_model.final_layer_norm")
    for tower, theirs, layers in (("image", "vision_model", vision_layers), ("text", "text_model", text_layers)):
        for number in range(layers):
            a, b = f"{tower}.blocks.{number}", f"{theirs}.encoder.layers.{number}"
            table += both(f"{a}.attention.qkv", *(f"{b}.self_attn.{name}_proj" for name in "qkv"))
            table += both(f"{a}.attention.out", f"{b}.self_attn.out_proj")
            table += both(f"{a}.norm1", f"{b}.layer_norm1") + both(f"{a}.norm2", f"{b}.layer_norm2")
            table += both(f"{a}.mlp.fc1", f"{b}.mlp.fc1") + both(f"{a}.mlp.fc2", f"{b}.mlp.fc2")
    return table

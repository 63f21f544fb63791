"""Repositories of open_clip: `open_clip_config.json`, `open_clip_model.safetensors` (or `open_clip_pytorch_model.bin`),
`tokenizer.json`.

Sources: model.py, factory.py and transform.py of open_clip 3.3; the settings that a file leaves out have the values
that those give them. Known are CLIPs whose text tower is CLIP's and whose image tower is a Vision Transformer or a
ModifiedResNet, in both layouts of names: the "CLIP" class (as OpenAI's files) and "CustomTextCLIP" (custom_text); and
SigLIP and SigLIP 2, whose image tower is timm's.

Texts are cleaned as there: mojibake, HTML entities and white space are mended. Where text_cfg names no tokenizer of the
Hub (hf_tokenizer_name), they are also brought to lower case, and split as OpenAI's simple_tokenizer.py does. Done
otherwise: pictures with a palette or with transparency are resized there before they become RGB, and here after.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from torch import Tensor

from sightword.checkpoints.contract import Contract, check_contract
from sightword.checkpoints.kinds import kind_of
from sightword.checkpoints.open_clip_names import names_of
from sightword.checkpoints.open_clip_settings import Text, read_settings
from sightword.checkpoints.open_clip_timm import timm_name
from sightword.checkpoints.renaming import to_ours, to_theirs
from sightword.checkpoints.tokens import is_largest, make_tokenizer, read_tokenizer, write_tokenizer
from sightword.checkpoints.tokens_siglip import read_siglip_tokenizer, write_siglip_tokenizer
from sightword.checkpoints.vocabulary import TOKENIZER, is_openai, split_as_openai
from sightword.checkpoints.weights import (
    check_vocabulary,
    check_weights,
    empty_model,
    in_float32,
    read_json,
    read_pickled,
    read_safetensors,
    with_shape,
    write_json,
    write_safetensors,
)
from sightword.config import Config, parse
from sightword.data.cleaning import Clean
from sightword.data.images import ImageSpec
from sightword.data.tokenizer import Tokenizer
from sightword.errors import CheckpointError, RequestError
from sightword.files import whole_folder
from sightword.towers.dual import DualEncoder
from sightword.towers.layers import NORM_EPS, Activation

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
# In the order in which open_clip looks for them.
FILES = (WEIGHTS, "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
_CLEANING: dict[str, Clean] = {"lower": "ftfy_lower", "whitespace": "ftfy", "canonicalize": "ftfy_canonical"}
# What open_clip can do of each of ours: mending cannot be turned off there.
_NEAREST: dict[Clean, str] = {ours: theirs for theirs, ours in _CLEANING.items()} | {
    "lower": "lower",
    "canonical": "canonicalize",
}
# Scalars that OpenAI's archives carry beside the weights.
_DROPPED = frozenset({"input_resolution", "context_length", "vocab_size"})


class _Preprocess(Config):
    """Without `size`: open_clip takes the image tower's, whatever stands here."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    mode: Literal["RGB"] = "RGB"
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize_mode: Literal["shortest", "longest", "squash"] = "shortest"
    fill_color: Annotated[int, Field(ge=0, le=255)] = 0


def load_open_clip(folder: Path) -> tuple[DualEncoder, Contract, Tokenizer]:
    """Read a folder and check it whole. Raises CheckpointError.

    The model is in evaluation mode, in fp32, on the CPU.
    """
    config = folder / CONFIG
    values = read_json(config)
    model_values = values.get("model_cfg", values)
    if not isinstance(model_values, dict):
        raise CheckpointError(f"{config}: model_cfg holds no settings")
    told, architecture = read_settings(model_values, config)
    image_size = architecture.image.image_size
    preprocess = {k: v for k, v in (values.get("preprocess_cfg") or {}).items() if v is not None}
    image = parse(_Preprocess, preprocess, f"{config}: preprocess_cfg", CheckpointError)
    tokenizer = _tokenizer(folder, told.text_cfg)
    contract = Contract(
        architecture=architecture,
        image=ImageSpec(
            size=image_size,
            resize=image.resize_mode,
            interpolation=image.interpolation,
            mean=image.mean,
            std=image.std,
            background=None,
            orient=False,
            fill=image.fill_color,
        ),
        text=tokenizer.spec,
        provenance={"family": "open_clip"},
    )
    check_contract(contract, config)
    check_vocabulary(contract, tokenizer, folder, (TOKENIZER, CONFIG))
    model = empty_model(architecture, config)
    path, weights = _weights(folder)
    weights = with_shape(in_float32(weights), ("logit_scale", "logit_bias"), ())
    empty = model.state_dict()
    # The layout shows in the names; the flag only says by which class open_clip would read them.
    custom = any(name.startswith("text.") for name in weights)
    table = names_of(empty, custom)
    check_weights(weights, to_theirs(table, empty), path, CONFIG)
    model.load_state_dict(to_ours(table, weights), assign=True)
    return model.eval(), contract, tokenizer


def save_open_clip(folder: str | Path, model: DualEncoder, contract: Contract, tokenizer: Tokenizer) -> None:
    """Write a folder for open_clip's `local-dir:FOLDER`, whole; one that is there already is replaced.

    Raises RequestError for a model that open_clip's CLIP class cannot express.
    """
    with whole_folder(Path(folder)) as temporary:
        write_open_clip(temporary, model, contract, tokenizer)


def write_open_clip(folder: Path, model: DualEncoder, contract: Contract, tokenizer: Tokenizer) -> None:
    """Write the files into a folder that is there."""
    architecture, spec = contract.architecture, contract.text
    image, text = architecture.image, architecture.text
    if image.kind == "backbone" or text.kind == "encoder":
        what = f"the image tower {image.name}" if image.kind == "backbone" else "a pretrained text encoder"
        raise RequestError(f"open_clip's CLIP class has no place for {what}: this model cannot be written so")
    siglip = kind_of(architecture) == "siglip"
    if not siglip and kind_of(architecture.model_copy(update={"bias": False})) != "clip":
        raise RequestError("open_clip's classes hold CLIP and SigLIP, and this model is built otherwise")
    quick = text.activation == "quick_gelu"
    vision: dict[str, Any] = {"image_size": image.image_size}
    if image.kind == "resnet":
        # The pool's heads are counted on the last stage, 32 times as wide as the stem.
        heads = image.width * 32 // image.heads
        vision |= {"width": image.width, "layers": list(image.blocks), "head_width": heads, "patch_size": None}
    elif siglip:
        vision |= {"timm_model_name": timm_name(image), "timm_pool": "map", "timm_proj": "none"}
    else:
        if (image.activation == "quick_gelu") != quick:
            raise RequestError(
                f"the image tower computes with {image.activation} and the text tower with {text.activation}, and "
                "open_clip has one quick_gelu for both: this model cannot be written so"
            )
        vision |= {
            "width": image.width,
            "layers": image.layers,
            "head_width": image.width // image.heads,
            "patch_size": image.patch,
            "mlp_ratio": image.mlp_ratio,
            **_block(image.activation, image.eps),
        }
    text_cfg = {
        "context_length": text.context,
        "vocab_size": text.vocabulary,
        "width": text.width,
        "heads": text.heads,
        "layers": text.layers,
        "mlp_ratio": text.mlp_ratio,
        **_block(text.activation, text.eps),
    }
    if siglip:
        projection = {"proj_type": "none"} if text.projection == "none" else {"proj_bias": True}
        text_cfg |= {"no_causal_mask": True, "pool_type": "last", **projection}
    elif not is_largest(tokenizer.engine, spec.end_id):
        text_cfg |= {"pool_type": "eos", "eos_id": spec.end_id}
    if spec.pad_id and not siglip:
        text_cfg["pad_id"] = spec.pad_id
    if siglip or not is_openai(tokenizer.engine):
        # Any name makes open_clip read the tokenizer of the folder itself (local-dir:) instead of its own.
        text_cfg["hf_tokenizer_name"] = "."
    default = _default_cleaning(text_cfg.get("hf_tokenizer_name"))
    if _NEAREST.get(spec.clean, default) != default:
        text_cfg["tokenizer_kwargs"] = {"clean": _NEAREST[spec.clean]}
    bias = {} if model.logit_bias is None else {"init_logit_bias": float(model.logit_bias.detach())}
    settings = {
        "model_cfg": {
            "embed_dim": architecture.embed_dim,
            "quick_gelu": quick,
            "custom_text": siglip,
            **bias,
            "vision_cfg": vision,
            "text_cfg": text_cfg,
        },
        "preprocess_cfg": {
            "mean": list(contract.image.mean),
            "std": list(contract.image.std),
            "interpolation": contract.image.interpolation,
            "resize_mode": contract.image.resize,
            "fill_color": contract.image.fill,
        },
    }
    weights = {name: _whole(tensor.detach().cpu()) for name, tensor in model.state_dict().items()}
    write_safetensors(folder / WEIGHTS, to_theirs(names_of(weights, custom=siglip), weights))
    write_json(folder / CONFIG, settings)
    if siglip:
        write_siglip_tokenizer(folder, tokenizer, cleans=False)
    else:
        write_tokenizer(folder, tokenizer)


def _whole(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _block(activation: Activation, eps: float) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if activation == "gelu_tanh":
        settings["act_kwargs"] = {"approximate": "tanh"}
    if eps != NORM_EPS:
        settings["norm_kwargs"] = {"eps": eps}
    return settings


def _default_cleaning(hf_tokenizer_name: Any) -> str:
    return "whitespace" if hf_tokenizer_name else "lower"


def _tokenizer(folder: Path, text: Text) -> Tokenizer:
    asked = text.tokenizer_kwargs.clean if text.tokenizer_kwargs else None
    cleaning = _CLEANING[asked or _default_cleaning(text.hf_tokenizer_name)]
    if text.pool_type == "last":
        if not text.hf_tokenizer_name:
            raise CheckpointError(
                f"{folder / CONFIG}: text_cfg names no hf_tokenizer_name: open_clip would split the texts by CLIP's "
                "own vocabulary, which is not known for a model that is pooled at the last position"
            )
        return read_siglip_tokenizer(folder, text.context_length, cleaning)
    engine, special = read_tokenizer(folder)
    if not text.hf_tokenizer_name:
        try:
            split_as_openai(engine, lower=cleaning != "ftfy")
        except ValueError as failure:
            raise CheckpointError(
                f"{folder}: without text_cfg.hf_tokenizer_name in {CONFIG}, open_clip splits texts as OpenAI's CLIP; "
                f"this tokenizer cannot: {failure}"
            ) from None
    if text.pool_type == "eos" and text.eos_id != special.end_id:
        raise CheckpointError(
            f"{folder}: text_cfg.eos_id is {text.eos_id} in {CONFIG}, but {special.end_token!r} has the id "
            f"{special.end_id} in {TOKENIZER}: they do not belong together"
        )
    if text.pool_type == "argmax" and not is_largest(engine, special.end_id):
        raise CheckpointError(
            f"{folder}: open_clip pools at the largest id of a text, and {special.end_token!r} ({special.end_id}) is "
            f"not the largest of {TOKENIZER}: they do not belong together"
        )
    return make_tokenizer(engine, special, text.context_length, text.pad_id, cleaning)


def _weights(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    for name in FILES:
        path = folder / name
        if path.is_file():
            weights = read_pickled(path) if path.suffix == ".bin" else read_safetensors(path)
            return path, {key: tensor for key, tensor in weights.items() if key not in _DROPPED}
    raise CheckpointError(f"{folder}: lacks the weights: one of {', '.join(FILES)}")

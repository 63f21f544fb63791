"""Repositories of open_clip: `open_clip_config.json`, `open_clip_model.safetensors` (or `open_clip_pytorch_model.bin`),
`tokenizer.json`.

Sources: model.py, factory.py and transform.py of open_clip 3.3; the settings that a file leaves out have the values
that those give them. Known are softmax CLIPs whose text tower is CLIP's and whose image tower is a Vision Transformer
or a ModifiedResNet, in both layouts of names: the "CLIP" class (as OpenAI's files) and "CustomTextCLIP" (custom_text).

Texts are cleaned as there: mojibake, HTML entities and white space are mended. Where text_cfg names no tokenizer of the
Hub (hf_tokenizer_name), they are also brought to lower case, and split as OpenAI's simple_tokenizer.py does. Done
otherwise: pictures with a palette or with transparency are resized there before they become RGB, and here after.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from torch import Tensor

from sightword.checkpoints.contract import Contract, check_contract
from sightword.checkpoints.open_clip_names import names_of
from sightword.checkpoints.renaming import to_ours, to_theirs
from sightword.checkpoints.tokens import is_largest, make_tokenizer, read_tokenizer, write_tokenizer
from sightword.checkpoints.vocabulary import TOKENIZER, is_openai, split_as_openai
from sightword.checkpoints.weights import (
    check_vocabulary,
    check_weights,
    empty_model,
    in_float32,
    read_json,
    read_pickled,
    read_safetensors,
    scalar,
    write_json,
    write_safetensors,
)
from sightword.config import Config, Positive, PositiveFloat, parse
from sightword.data.cleaning import Clean
from sightword.data.images import ImageSpec
from sightword.data.tokenizer import Tokenizer
from sightword.errors import CheckpointError, RequestError
from sightword.files import whole_folder
from sightword.towers.dual import DualEncoder, DualEncoderConfig
from sightword.towers.layers import NORM_EPS, Activation
from sightword.towers.resnet import ResNetConfig
from sightword.towers.text import TextConfig
from sightword.towers.vit import ViTConfig

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


class _Norm(Config):
    eps: PositiveFloat = NORM_EPS


class _Act(Config):
    approximate: Literal["none", "tanh"] = "none"


class _Block(Config):
    """What both towers may set. A setting that is not implemented here may only have the value that turns it off."""

    act_kwargs: _Act | None = None
    norm_kwargs: _Norm | None = None
    ls_init_value: None = None
    final_ln_after_pool: bool = False  # of one pooled token: the order makes no difference
    output_tokens: bool = False
    block_type: Literal["default"] | None = None
    qk_norm: Literal[False] = False
    scaled_cosine_attn: Literal[False] = False
    scale_heads: Literal[False] = False
    scale_attn_inner: Literal[False] = False
    scale_attn: Literal[False] = False
    scale_fc: Literal[False] = False


class _Vision(_Block):
    layers: tuple[Positive, Positive, Positive, Positive] | Positive = 12
    width: Positive = 768
    head_width: Positive = 64
    mlp_ratio: PositiveFloat = 4.0
    patch_size: Positive | None = 16
    image_size: Positive | tuple[Positive, Positive] = 224
    patch_dropout: float = 0.0  # of the training
    attentional_pool: Literal[False] = False
    attn_pooler_queries: int = 256
    attn_pooler_heads: int = 8
    no_ln_pre: Literal[False] = False
    pos_embed_type: Literal["learnable", "sin_cos_2d"] = "learnable"  # a table in the file either way
    pool_type: Literal["tok"] = "tok"
    timm_model_name: None = None
    timm_model_pretrained: bool = False
    timm_pool: str = ""
    timm_proj: str | None = None
    timm_proj_bias: bool = False
    timm_drop: float = 0.0
    timm_drop_path: float | None = None


class _TokenizerKwargs(Config):
    clean: Literal["lower", "whitespace", "canonicalize"] | None = None
    strip_sep_token: Literal[False] = False


class _Text(_Block):
    context_length: Annotated[int, Field(ge=3)] = 77
    vocab_size: Positive = 49_408
    width: Positive = 512
    heads: Positive = 8
    layers: Positive = 12
    mlp_ratio: PositiveFloat = 4.0
    hf_tokenizer_name: str | None = None
    tokenizer_mode: None = None
    tokenizer_kwargs: _TokenizerKwargs | None = None
    embed_cls: Literal[False] = False
    pad_id: int = 0
    eos_id: int = 2
    no_causal_mask: Literal[False] = False
    pool_type: Literal["argmax", "eos"] = "argmax"
    proj_bias: Literal[False] = False
    proj_type: Literal["linear"] = "linear"
    hf_model_name: None = None
    hf_model_pretrained: bool = True
    hf_proj_type: str = "mlp"
    hf_pooler_type: str = "mean_pooler"


class ModelSettings(Config):
    """`model_cfg`, every key of it that is known here."""

    embed_dim: Positive
    vision_cfg: _Vision
    text_cfg: _Text
    quick_gelu: bool = False
    custom_text: bool = False
    init_logit_scale: float = 0.0
    nonscalar_logit_scale: bool = False


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
    weights = scalar(in_float32(weights), "logit_scale")
    empty = model.state_dict()
    # The layout shows in the names; the flag only says by which class open_clip would read them.
    custom = any(name.startswith("text.") for name in weights)
    table = names_of(empty, custom)
    check_weights(weights, to_theirs(table, empty), path, CONFIG)
    model.load_state_dict(to_ours(table, weights), assign=True)
    return model.eval(), contract, tokenizer


def read_settings(values: Mapping[str, Any], path: Path) -> tuple[ModelSettings, DualEncoderConfig]:
    """A model_cfg, and the towers that it describes. path: begins the messages of CheckpointError."""
    _refuse_relatives(values, path)
    told = parse(ModelSettings, values, f"{path}: model_cfg", CheckpointError)
    return told, _architecture(told, path)


def save_open_clip(folder: str | Path, model: DualEncoder, contract: Contract, tokenizer: Tokenizer) -> None:
    """Write a folder for open_clip's `local-dir:FOLDER`, whole; one that is there already is replaced.

    Raises RequestError for a model that open_clip's CLIP class cannot express.
    """
    with whole_folder(Path(folder)) as temporary:
        write_open_clip(temporary, model, contract, tokenizer)


def write_open_clip(folder: Path, model: DualEncoder, contract: Contract, tokenizer: Tokenizer) -> None:
    """Write the files into a folder that is there."""
    image, text, spec = contract.architecture.image, contract.architecture.text, contract.text
    if image.kind == "backbone" or text.kind == "encoder":
        what = f"the image tower {image.name}" if image.kind == "backbone" else "a pretrained text encoder"
        raise RequestError(f"open_clip's CLIP class has no place for {what}: this model cannot be written so")
    quick = text.activation == "quick_gelu"
    vision: dict[str, Any] = {"image_size": image.image_size, "width": image.width}
    if image.kind == "resnet":
        # The pool's heads are counted on the last stage, 32 times as wide as the stem.
        vision |= {"layers": list(image.blocks), "head_width": image.width * 32 // image.heads, "patch_size": None}
    else:
        if (image.activation == "quick_gelu") != quick:
            raise RequestError(
                f"the image tower computes with {image.activation} and the text tower with {text.activation}, and "
                "open_clip has one quick_gelu for both: this model cannot be written so"
            )
        vision |= {
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
    if spec.pad_id:
        text_cfg["pad_id"] = spec.pad_id
    if not is_largest(tokenizer.engine, spec.end_id):
        text_cfg |= {"pool_type": "eos", "eos_id": spec.end_id}
    if not is_openai(tokenizer.engine):
        # Any name makes open_clip read the tokenizer of the folder itself (local-dir:) instead of its own.
        text_cfg["hf_tokenizer_name"] = "."
    default = _default_cleaning(text_cfg.get("hf_tokenizer_name"))
    if _NEAREST.get(spec.clean, default) != default:
        text_cfg["tokenizer_kwargs"] = {"clean": _NEAREST[spec.clean]}
    settings = {
        "model_cfg": {
            "embed_dim": contract.architecture.embed_dim,
            "quick_gelu": quick,
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
    write_safetensors(folder / WEIGHTS, to_theirs(names_of(weights, custom=False), weights))
    write_json(folder / CONFIG, settings)
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


def _refuse_relatives(values: Mapping[str, Any], path: Path) -> None:
    """Models that open_clip_config.json can describe as well, by their names."""

    def section(name: str) -> Mapping[str, Any]:
        found = values.get(name)
        return found if isinstance(found, dict) else {}

    relatives = (
        (section("vision_cfg").get("timm_model_name"), "an image tower of timm ({})"),
        (section("text_cfg").get("hf_model_name"), "a text tower of transformers ({})"),
        (values.get("multimodal_cfg"), "CoCa, which also writes captions"),
        (values.get("init_logit_bias"), "a sigmoid model with a bias, as SigLIP"),
    )
    for value, what in relatives:
        if value is not None:
            raise CheckpointError(
                f"{path}: {what.format(value)} is not known here; known is CLIP with a Vision Transformer or "
                "ModifiedResNet and its own text tower"
            )


def _architecture(told: ModelSettings, path: Path) -> DualEncoderConfig:
    vision, text = told.vision_cfg, told.text_cfg
    size = vision.image_size
    if not isinstance(size, int):
        if size[0] != size[1]:
            raise CheckpointError(f"{path}: pictures of {size[0]} x {size[1]} pixels; only squares are known here")
        size = size[0]
    image: ViTConfig | ResNetConfig
    if not isinstance(vision.layers, int):
        heads = vision.width * 32 // vision.head_width
        image = ResNetConfig(image_size=size, blocks=vision.layers, width=vision.width, heads=max(1, heads))
    else:
        if vision.patch_size is None:
            raise CheckpointError(f"{path}: model_cfg.vision_cfg lacks patch_size")
        image = ViTConfig(
            image_size=size,
            patch=vision.patch_size,
            width=vision.width,
            layers=vision.layers,
            heads=max(1, vision.width // vision.head_width),
            mlp_ratio=vision.mlp_ratio,
            activation=_activation(told.quick_gelu, vision, path),
            eps=(vision.norm_kwargs or _Norm()).eps,
        )
    text_config = TextConfig(
        vocabulary=text.vocab_size,
        context=text.context_length,
        width=text.width,
        layers=text.layers,
        heads=text.heads,
        mlp_ratio=text.mlp_ratio,
        activation=_activation(told.quick_gelu, text, path),
        eps=(text.norm_kwargs or _Norm()).eps,
    )
    return DualEncoderConfig(embed_dim=told.embed_dim, image=image, text=text_config)


def _activation(quick_gelu: bool, block: _Block, path: Path) -> Activation:
    if not quick_gelu:
        return "gelu_tanh" if block.act_kwargs and block.act_kwargs.approximate == "tanh" else "gelu"
    if block.act_kwargs is not None:
        raise CheckpointError(f"{path}: quick_gelu and act_kwargs contradict each other")
    return "quick_gelu"


def _default_cleaning(hf_tokenizer_name: Any) -> str:
    return "whitespace" if hf_tokenizer_name else "lower"


def _tokenizer(folder: Path, text: _Text) -> Tokenizer:
    engine, special = read_tokenizer(folder)
    asked = text.tokenizer_kwargs.clean if text.tokenizer_kwargs else None
    cleaning = _CLEANING[asked or _default_cleaning(text.hf_tokenizer_name)]
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

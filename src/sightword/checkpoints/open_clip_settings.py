"""`model_cfg` of open_clip_config.json: the settings that are known here, and the towers that they describe.

Sources: model.py and factory.py of open_clip 3.3; the settings that a file leaves out have the values that those give
them. One that is not implemented here may only have the value that turns it off.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from sightword.checkpoints.open_clip_timm import TOWERS
from sightword.config import Config, Positive, PositiveFloat, parse
from sightword.errors import CheckpointError
from sightword.towers.configs import (
    NORM_EPS,
    Activation,
    DualEncoderConfig,
    Projection,
    QueriesConfig,
    ResNetConfig,
    TextConfig,
    ViTConfig,
)


class Norm(Config):
    eps: PositiveFloat = NORM_EPS


class _Act(Config):
    approximate: Literal["none", "tanh"] = "none"


class _Block(Config):
    """What both towers may set. A setting that is not implemented here may only have the value that turns it off."""

    act_kwargs: _Act | None = None
    norm_kwargs: Norm | None = None
    ls_init_value: float | None = None
    final_ln_after_pool: bool = False  # of one pooled token, as texts are: the order makes no difference
    output_tokens: bool = False
    block_type: Literal["default", "custom"] | None = None  # the same, as long as the next are off
    qk_norm: Literal[False] = False
    scaled_cosine_attn: Literal[False] = False
    scale_heads: Literal[False] = False
    scale_attn_inner: Literal[False] = False
    scale_attn: Literal[False] = False
    scale_fc: Literal[False] = False


class Vision(_Block):
    layers: tuple[Positive, Positive, Positive, Positive] | Positive = 12
    width: Positive = 768
    head_width: Positive = 64
    mlp_ratio: PositiveFloat = 4.0
    patch_size: Positive | None = 16
    image_size: Positive | tuple[Positive, Positive] = 224
    patch_dropout: float = 0.0  # of the training
    # Of its other values, `parallel` and `cascade`, open_clip gets no vector for a picture, but a row of one.
    attentional_pool: bool = False
    attn_pooler_queries: Positive = 256
    attn_pooler_heads: Positive = 8
    no_ln_pre: bool = False
    pos_embed_type: Literal["learnable", "sin_cos_2d"] = "learnable"  # a table in the file either way
    pool_type: Literal["tok", "avg"] = "tok"  # `none` leaves no vector
    timm_model_name: str | None = None
    timm_model_pretrained: bool = False
    timm_pool: str = "avg"
    timm_proj: str | None = "linear"
    timm_proj_bias: bool = False
    timm_drop: float = 0.0
    timm_drop_path: float | None = None


class TokenizerKwargs(Config):
    clean: Literal["lower", "whitespace", "canonicalize"] | None = None
    strip_sep_token: bool = False


class Text(_Block):
    context_length: Annotated[int, Field(ge=3)] = 77
    vocab_size: Positive = 49_408
    width: Positive = 512
    heads: Positive = 8
    layers: Positive = 12
    mlp_ratio: PositiveFloat = 4.0
    hf_tokenizer_name: str | None = None
    tokenizer_mode: None = None
    tokenizer_kwargs: TokenizerKwargs | None = None
    embed_cls: bool = False
    pad_id: int = 0
    eos_id: int = 2
    no_causal_mask: bool = False
    pool_type: Literal["argmax", "eos", "first", "last"] = "argmax"  # `none` leaves no vector
    proj_bias: bool = False
    proj_type: Literal["linear", "none"] = "linear"
    hf_model_name: None = None
    hf_model_pretrained: bool = True
    hf_proj_type: str = "mlp"
    hf_pooler_type: str = "mean_pooler"


class ModelSettings(Config):
    """`model_cfg`, every key of it that is known here."""

    embed_dim: Positive
    vision_cfg: Vision
    text_cfg: Text
    multimodal_cfg: dict[str, Any] | None = None  # of CoCa's captions
    quick_gelu: bool = False
    custom_text: bool = False
    init_logit_scale: float = 0.0
    init_logit_bias: float | None = None
    nonscalar_logit_scale: bool = False


def read_settings(values: Mapping[str, Any], path: Path) -> tuple[ModelSettings, DualEncoderConfig]:
    """A model_cfg, and the towers that it describes. path: begins the messages of CheckpointError."""
    _refuse_relatives(values, path)
    told = parse(ModelSettings, values, f"{path}: model_cfg", CheckpointError)
    return told, _architecture(told, path)


def _refuse_relatives(values: Mapping[str, Any], path: Path) -> None:
    """Models that open_clip_config.json can describe as well, by their names."""

    def section(name: str) -> Mapping[str, Any]:
        found = values.get(name)
        return found if isinstance(found, dict) else {}

    timm = section("vision_cfg").get("timm_model_name")
    relatives = (
        (None if timm in TOWERS else timm, "an image tower of timm ({})"),
        (section("text_cfg").get("hf_model_name"), "a text tower of transformers ({})"),
    )
    for value, what in relatives:
        if value is not None:
            raise CheckpointError(
                f"{path}: {what.format(value)} is not known here; known are open_clip's own Vision Transformer, "
                "ModifiedResNet and text tower, and SigLIP's image towers"
            )


def _architecture(told: ModelSettings, path: Path) -> DualEncoderConfig:
    return DualEncoderConfig(
        embed_dim=told.embed_dim,
        image=_image(told, path),
        text=_text(told, path),
        bias=told.init_logit_bias is not None,
    )


def _image(told: ModelSettings, path: Path) -> ViTConfig | ResNetConfig:
    vision = told.vision_cfg
    size = vision.image_size
    if not isinstance(size, int):
        if size[0] != size[1]:
            raise CheckpointError(f"{path}: pictures of {size[0]} x {size[1]} pixels; only squares are known here")
        size = size[0]
    if vision.timm_model_name is not None:
        tower = TOWERS[vision.timm_model_name]
        if size != tower.image_size or (vision.timm_pool, vision.timm_proj) != ("map", "none"):
            raise CheckpointError(
                f"{path}: vision_cfg asks for {vision.timm_model_name} with image_size {size}, timm_pool "
                f"{vision.timm_pool!r} and timm_proj {vision.timm_proj!r}; known are {tower.image_size}, 'map' and "
                "'none'"
            )
        return tower
    if not isinstance(vision.layers, int):
        heads = vision.width * 32 // vision.head_width
        return ResNetConfig(image_size=size, blocks=vision.layers, width=vision.width, heads=max(1, heads))
    if vision.patch_size is None:
        raise CheckpointError(f"{path}: model_cfg.vision_cfg lacks patch_size")
    return ViTConfig(
        image_size=size,
        patch=vision.patch_size,
        width=vision.width,
        layers=vision.layers,
        heads=max(1, vision.width // vision.head_width),
        mlp_ratio=vision.mlp_ratio,
        activation=_activation(told.quick_gelu, vision, path),
        eps=(vision.norm_kwargs or Norm()).eps,
        norm_in=not vision.no_ln_pre,
        layer_scale=vision.ls_init_value,
        pool="class" if vision.pool_type == "tok" else "average",
        # The answers to queries are normed before.
        norm_after_pool=vision.final_ln_after_pool and vision.pool_type == "avg" and not vision.attentional_pool,
        queries=(
            QueriesConfig(count=vision.attn_pooler_queries, heads=vision.attn_pooler_heads)
            if vision.attentional_pool
            else None
        ),
    )


def _text(told: ModelSettings, path: Path) -> TextConfig:
    text = told.text_cfg
    pools: dict[str, Literal["end", "first", "last"]] = {"first": "first", "last": "last"}
    projection: Projection = "bias" if text.proj_bias else "linear"
    return TextConfig(
        vocabulary=text.vocab_size,
        context=text.context_length,
        width=text.width,
        layers=text.layers,
        heads=text.heads,
        mlp_ratio=text.mlp_ratio,
        activation=_activation(told.quick_gelu, text, path),
        eps=(text.norm_kwargs or Norm()).eps,
        causal=not text.no_causal_mask,
        layer_scale=text.ls_init_value,
        pool="class" if text.embed_cls else pools.get(text.pool_type, "end"),
        pad_id=text.pad_id if text.embed_cls else None,
        projection="none" if text.proj_type == "none" else projection,
    )


def _activation(quick_gelu: bool, block: _Block, path: Path) -> Activation:
    if not quick_gelu:
        return "gelu_tanh" if block.act_kwargs and block.act_kwargs.approximate == "tanh" else "gelu"
    if block.act_kwargs is not None:
        raise CheckpointError(f"{path}: quick_gelu and act_kwargs contradict each other")
    return "quick_gelu"

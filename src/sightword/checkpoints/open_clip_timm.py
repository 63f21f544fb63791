"""SigLIP's image towers as open_clip has them: timm's, by name (vision_transformer.py of timm 1.0).

The name alone says how large a tower is, which activation it computes with and which pictures it takes; the settings
beside it say nothing of that. Of the two GELUs timm runs the exact one in the towers that SigLIP 1 came in, and the
tanh form, with which all were trained, in the later ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sightword.checkpoints.kinds import siglip_image
from sightword.checkpoints.renaming import Rename
from sightword.errors import RequestError
from sightword.towers.configs import Activation, ViTConfig

_SIZES: tuple[tuple[str, int, tuple[int, ...], int, int, int, float, Activation], ...] = (
    # name, patch, image sizes, width, layers, heads, MLP ratio, activation
    ("base", 32, (256,), 768, 12, 12, 4.0, "gelu_tanh"),
    ("base", 16, (224, 256, 384, 512), 768, 12, 12, 4.0, "gelu"),
    ("large", 16, (256, 384), 1024, 24, 16, 4.0, "gelu"),
    ("large", 16, (512,), 1024, 24, 16, 4.0, "gelu_tanh"),
    ("so400m", 14, (224, 378, 384), 1152, 27, 16, 3.7362, "gelu"),
    ("so400m", 16, (256, 384, 512), 1152, 27, 16, 3.7362, "gelu_tanh"),
    ("giantopt", 16, (256, 384), 1536, 40, 16, 4.0, "gelu_tanh"),
)
TOWERS: dict[str, ViTConfig] = {
    f"vit_{name}_patch{patch}_siglip_{size}": siglip_image(
        size, patch, width=width, layers=layers, heads=heads, mlp_ratio=ratio, activation=act, eps=1e-6
    )
    for name, patch, sizes, width, layers, heads, ratio, act in _SIZES
    for size in sizes
}
_NAMES = {
    "patches": "patch_embed.proj",
    "positions": "pos_embed",
    "norm_out": "norm",
    "attention.qkv": "attn.qkv",
    "attention.out": "attn.proj",
    "attention_pool.probe": "attn_pool.latent",
    "attention_pool.query": "attn_pool.q",
    "attention_pool.out": "attn_pool.proj",
    "attention_pool": "attn_pool",
}
_AXES = {"image.positions": 1, "image.attention_pool.probe": 2}


def timm_name(config: ViTConfig) -> str:
    """Raises RequestError where timm has no such tower."""
    shapes = {name: _shape(tower) for name, tower in TOWERS.items()}
    for name, shape in shapes.items():
        if shape == _shape(config):
            return name
    near = [name for name, shape in shapes.items() if shape | {"activation": ""} == _shape(config) | {"activation": ""}]
    has = f"timm computes {near[0]} with {TOWERS[near[0]].activation}" if near else "none of timm's has these sizes"
    raise RequestError(
        f"open_clip takes SigLIP's image towers from timm by name, and this one ({config.width} wide, {config.layers} "
        f"layers, patch {config.patch}, {config.image_size} pixels, {config.activation}) has none: {has}"
    )


def _shape(config: ViTConfig) -> dict[str, Any]:
    # Two ratios may give one width.
    return config.model_dump() | {"mlp_ratio": int(config.width * config.mlp_ratio)}


def timm_names(ours: Mapping[str, Tensor]) -> list[Rename]:
    """Names of the image tower. Keys and values of the pool stand in one tensor there."""
    rows: list[Rename] = []
    for name in ours:
        tower, _, inner = name.partition(".")
        if tower != "image" or inner.startswith("attention_pool.value."):
            continue
        if inner.startswith("attention_pool.key."):
            part = inner.rsplit(".", 1)[-1]
            value = f"image.attention_pool.value.{part}"
            rows.append(Rename((name, value), f"visual.trunk.attn_pool.kv.{part}"))
            continue
        prefix = ""
        if block := re.match(r"blocks\.\d+\.", inner):
            prefix, inner = block[0], inner[block.end() :]
        known = next((key for key in _NAMES if inner == key or inner.startswith(f"{key}.")), "")
        theirs = _NAMES[known] + inner[len(known) :] if known else inner
        rows.append(Rename(name, f"visual.trunk.{prefix}{theirs}", axes=_AXES.get(name, 0)))
    return rows

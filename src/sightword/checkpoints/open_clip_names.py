"""The names of open_clip's tensors, which are also those of OpenAI's files (model.py of openai/CLIP and open_clip 3.3).

The image tower stands under `visual.`, and one of timm's under `visual.trunk.`. The text tower stands bare in the
"CLIP" class, and under `text.` in "CustomTextCLIP" and "CoCa". Projections are matrices [W, D], applied from the right:
transposed against ours; only one with a bias is a layer, as here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from sightword.checkpoints.open_clip_timm import timm_names
from sightword.checkpoints.renaming import Rename, both

_TEXT = ("transformer.", "token_embedding.", "positional_embedding", "cls_emb", "ln_final.", "text_projection")
_BLOCK = {
    "attention.qkv.weight": "attn.in_proj_weight",
    "attention.qkv.bias": "attn.in_proj_bias",
    "attention.out": "attn.out_proj",
    "norm1": "ln_1",
    "norm2": "ln_2",
    "scale1": "ls_1",
    "scale2": "ls_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_TOPS = {
    "log_scale": "logit_scale",
    "logit_bias": "logit_bias",
    "image.patches": "visual.conv1",
    "image.class_token": "visual.class_embedding",
    "image.positions": "visual.positional_embedding",
    "image.norm_in": "visual.ln_pre",
    "image.norm_out": "visual.ln_post",
    "image.projection.weight": "visual.proj",
    "image.query_pool.queries": "visual.attn_pool.query",
    "image.query_pool.norm_queries": "visual.attn_pool.ln_q",
    "image.query_pool.norm_tokens": "visual.attn_pool.ln_k",
    "image.query_pool.out": "visual.attn_pool.attn.out_proj",
    "image.attention_pool.positions": "visual.attnpool.positional_embedding",
    "image.attention_pool.query": "visual.attnpool.q_proj",
    "image.attention_pool.key": "visual.attnpool.k_proj",
    "image.attention_pool.value": "visual.attnpool.v_proj",
    "image.attention_pool.out": "visual.attnpool.c_proj",
    "text.tokens": "token_embedding",
    "text.class_token": "cls_emb",
    "text.positions": "positional_embedding",
    "text.norm_out": "ln_final",
    "text.projection.weight": "text_projection",
}


def names_of(ours: Mapping[str, Tensor], custom: bool) -> list[Rename]:
    """Their name for each tensor of our state dict `ours`. custom: in the layout of CustomTextCLIP."""
    rows = timm_names(ours) if "image.attention_pool.probe" in ours else []
    if "image.query_pool.queries" in ours:
        rows += _query_pool(ours)
    done = {name for row in rows for name in ((row.ours,) if isinstance(row.ours, str) else row.ours)}
    if "text.projection.bias" in ours:
        rows += both("text.projection", "text.text_projection" if custom else "text_projection")
        done |= {"text.projection.weight", "text.projection.bias"}
    matrices = ("image.projection.weight", "text.projection.weight")
    return rows + [Rename(name, _renamed(name, custom), name in matrices) for name in ours if name not in done]


def _query_pool(ours: Mapping[str, Tensor]) -> list[Rename]:
    """Queries, keys and values, which are of torch's MultiheadAttention: its weights stand in one tensor where the
    tokens are as wide as the queries."""
    parts, theirs = ("query", "key", "value"), "visual.attn_pool.attn"
    weights = tuple(f"image.query_pool.{part}.weight" for part in parts)
    biases = tuple(f"image.query_pool.{part}.bias" for part in parts)
    rows = [Rename(biases, f"{theirs}.in_proj_bias")]
    if ours[weights[0]].shape == ours[weights[1]].shape:
        return [*rows, Rename(weights, f"{theirs}.in_proj_weight")]
    return rows + [
        Rename(weight, f"{theirs}.{part[0]}_proj_weight") for weight, part in zip(weights, parts, strict=True)
    ]


def _renamed(name: str, custom: bool) -> str:
    if block := re.fullmatch(r"(image|text)\.blocks\.(\d+)\.(.+)", name):
        tower, number, rest = block.groups()
        theirs = f"{'visual.' if tower == 'image' else ''}transformer.resblocks.{number}.{_swapped(rest, _BLOCK)}"
    elif name.startswith(("image.layers.", "image.conv", "image.norm")) and "norm_" not in name:
        # ModifiedResNet: stem and four stages, whose shortcut is (pool, convolution, norm) under the names -1, 0, 1.
        theirs = re.sub(r"^image\.layers\.(\d+)", lambda found: f"image.layer{int(found[1]) + 1}", name)
        theirs = theirs.replace("shortcut.1.", "downsample.0.").replace("shortcut.2.", "downsample.1.")
        theirs = re.sub(r"\bnorm(\d)", r"bn\1", theirs).replace("image.", "visual.", 1)
    else:
        theirs = _swapped(name, _TOPS)
    return f"text.{theirs}" if custom and theirs.startswith(_TEXT) else theirs


def _swapped(name: str, table: Mapping[str, str]) -> str:
    ours = next(key for key in table if name == key or name.startswith(f"{key}."))
    return table[ours] + name[len(ours) :]

"""The names of open_clip's tensors, which are also those of OpenAI's files (model.py of openai/CLIP and open_clip 3.3).

The image tower stands under `visual.`. The text tower stands bare in the "CLIP" class, and under `text.` in
"CustomTextCLIP". Both projections are matrices [W, D], applied from the right: transposed against ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from sightword.checkpoints.renaming import Rename

_TEXT = ("transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_projection")
_BLOCK = {
    "attention.qkv.weight": "attn.in_proj_weight",
    "attention.qkv.bias": "attn.in_proj_bias",
    "attention.out": "attn.out_proj",
    "norm1": "ln_1",
    "norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_TOPS = {
    "log_scale": "logit_scale",
    "image.patches": "visual.conv1",
    "image.class_token": "visual.class_embedding",
    "image.positions": "visual.positional_embedding",
    "image.norm_in": "visual.ln_pre",
    "image.norm_out": "visual.ln_post",
    "image.projection.weight": "visual.proj",
    "image.attention_pool.positions": "visual.attnpool.positional_embedding",
    "image.attention_pool.query": "visual.attnpool.q_proj",
    "image.attention_pool.key": "visual.attnpool.k_proj",
    "image.attention_pool.value": "visual.attnpool.v_proj",
    "image.attention_pool.out": "visual.attnpool.c_proj",
    "text.tokens": "token_embedding",
    "text.positions": "positional_embedding",
    "text.norm_out": "ln_final",
    "text.projection.weight": "text_projection",
}


def names_of(ours: Mapping[str, Tensor], custom: bool) -> list[Rename]:
    """Their name for each tensor of our state dict `ours`. custom: in the layout of CustomTextCLIP."""
    return [
        Rename(
            name, (_renamed(name, custom),), transposed=name in ("image.projection.weight", "text.projection.weight")
        )
        for name in ours
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

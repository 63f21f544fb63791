"""Batches to embeddings: image towers, text towers, the dual encoder, presets."""

from __future__ import annotations

from typing import Literal, TypeAlias

# What the last block of a ViT does where its patches are wanted in the joint space (see patch_rules).
Rule: TypeAlias = Literal["clip", "value", "sclip", "clearclip", "naclip"]

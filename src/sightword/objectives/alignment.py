"""Alignment: how far a picture lies from its own text (Wang and Isola, arXiv 2005.10242, section 4, with alpha = 2).

Beside InfoNCE it keeps the map from pictures to the text space near to that of a regression. A contrastive loss alone
is content with any map that tells the training names apart; names that were never seen need one that lands where
their texts would lie. Shapes: B batch, D joint space.
"""

from __future__ import annotations

from torch import Tensor


class Alignment:
    """image_BD, text_BD: unit vectors. The mean squared distance of partners, a scalar from 0 to 4."""

    def __call__(self, image_BD: Tensor, text_BD: Tensor) -> Tensor:
        if image_BD.shape != text_BD.shape or image_BD.ndim != 2:
            raise ValueError(f"needs two [B, D] of one shape, got {list(image_BD.shape)} and {list(text_BD.shape)}")
        return (image_BD - text_BD).square().sum(dim=1).mean()

"""Symmetric InfoNCE, the loss of CLIP (arXiv 2103.00020, section 2.3), with several positives a row where labels say so
(UniCL of Florence, arXiv 2111.11432, section 2.2).

Shapes: B batch, K further texts, D joint space.
"""

from __future__ import annotations

import torch
from torch import Tensor


class InfoNCE:
    """image_BD, text_BD: unit vectors, row i of one belongs to row i of the other. scale: 1 / temperature.

    labels: int64 [B], [B, M] or None. Rows that agree in a label (in any of their M) are positives of each other, each
    with an equal share of the target:
    for a row with positives P the loss is the mean over P of -log softmax(scale * cosine). Without labels, P is the
    row's own partner. more_text_KD, more_labels: further texts, which the pictures (and only they) are held against;
    where such a text has the label of a row, it is one of the row's positives. The result is the mean over rows of both
    directions, a scalar.
    """

    def __call__(
        self,
        image_BD: Tensor,
        text_BD: Tensor,
        scale: Tensor | float,
        labels: Tensor | None = None,
        more_text_KD: Tensor | None = None,
        more_labels: Tensor | None = None,
    ) -> Tensor:
        if image_BD.shape != text_BD.shape or image_BD.ndim != 2:
            raise ValueError(f"needs two [B, D] of one shape, got {list(image_BD.shape)} and {list(text_BD.shape)}")
        if labels is None:
            labels = torch.arange(len(image_BD), device=image_BD.device)
        logits_BB = scale * (image_BD @ text_BD.T)
        positive_BB = _agree(labels, labels)
        text_B = _cross_entropy(logits_BB.T, positive_BB)  # the mask is symmetric
        if more_text_KD is not None:
            if more_labels is None:
                more_labels = torch.full((len(more_text_KD), *labels.shape[1:]), -1, device=labels.device)
            logits_BB = torch.cat([logits_BB, scale * (image_BD @ more_text_KD.T)], dim=1)
            positive_BB = torch.cat([positive_BB, _agree(labels, more_labels)], dim=1)
        image_B = _cross_entropy(logits_BB, positive_BB)
        return (image_B.mean() + text_B.mean()) / 2


def _agree(one: Tensor, other: Tensor) -> Tensor:
    """[B] or [B, M] against [K] or [K, M]: bool [B, K], whether two rows have a label in common."""
    one_BM, other_KM = one.view(len(one), -1), other.view(len(other), -1)
    return (one_BM[:, None, :] == other_KM[None, :, :]).any(dim=2)


def _cross_entropy(logits: Tensor, positive: Tensor) -> Tensor:
    """Against a target that is uniform over the positives of a row: logsumexp less the mean positive logit."""
    weight = positive.to(logits.dtype)
    return logits.logsumexp(dim=1) - (weight * logits).sum(dim=1) / weight.sum(dim=1)

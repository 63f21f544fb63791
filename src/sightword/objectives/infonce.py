"""Symmetric InfoNCE, the loss of CLIP (arXiv 2103.00020, section 2.3), with several positives a row where labels say so
(UniCL of Florence, arXiv 2111.11432, section 2.2).

Shapes: B batch, D joint space.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class InfoNCE:
    """image_BD, text_BD: unit vectors, row i of one belongs to row i of the other. scale: 1 / temperature.

    labels: int64 [B] or None. Rows with one label are positives of each other, each with an equal share of the target:
    for a row with positives P the loss is the mean over P of -log softmax(scale * cosine). Without labels, P is the
    row's own partner. The result is the mean over rows of both directions, a scalar.
    """

    def __call__(
        self, image_BD: Tensor, text_BD: Tensor, scale: Tensor | float, labels: Tensor | None = None
    ) -> Tensor:
        if image_BD.shape != text_BD.shape or image_BD.ndim != 2:
            raise ValueError(f"needs two [B, D] of one shape, got {list(image_BD.shape)} and {list(text_BD.shape)}")
        logits_BB = scale * (image_BD @ text_BD.T)
        if labels is None:
            targets = torch.arange(len(logits_BB), device=logits_BB.device)
            return (F.cross_entropy(logits_BB, targets) + F.cross_entropy(logits_BB.T, targets)) / 2
        positive_BB = (labels[:, None] == labels[None, :]).to(logits_BB.dtype)
        # Cross-entropy against a target that is uniform over the positives: logsumexp of the row less the mean
        # positive logit. The mask is symmetric, so one count serves both directions.
        positive_B = (positive_BB * logits_BB).sum(dim=1) / positive_BB.sum(dim=1)
        positive_text_B = (positive_BB * logits_BB).sum(dim=0) / positive_BB.sum(dim=0)
        image_B = logits_BB.logsumexp(dim=1) - positive_B
        text_B = logits_BB.logsumexp(dim=0) - positive_text_B
        return (image_B.mean() + text_B.mean()) / 2

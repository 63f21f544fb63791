"""Tagging: each picture against the names of all that the batch's pictures show, of which several are true of it.

With P the names of a picture, Q the pictures that show a name, and both softmaxes over scale * cosine,

    L = (mean over pictures of mean over P of -log softmax over names
         + mean over names of mean over Q of -log softmax over pictures) / 2

which is UniCL's bidirectional loss (Florence, arXiv 2111.11432, section 2.2) where a picture has several labels. A
caption tells of some of the things in a picture; this asks for all of them, and counts what other pictures show as
not there, unless it is.

Shapes: B pictures, P names of theirs, all in turn; N, M of all ranks; C different names; D joint space.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from sightword.objectives.ranks import Ranks
from sightword.objectives.tiles import full


class Tagging:
    """image_BD, tag_PD: unit vectors, the latter of each picture's names, picture after picture. scale: 1 /
    temperature. labels_P: int64, equal for equal names. counts_B: how many names each picture has; one without any has
    no part. group: ranks that share a batch; the result is that of the whole batch on every rank, and so are the
    gradients once they are averaged. Holds N x C logits and four more such matrices.

    The result is a scalar, 0 where no picture has a name."""

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self.ranks = Ranks(group)

    def __call__(
        self, image_BD: Tensor, tag_PD: Tensor, scale: Tensor | float, labels_P: Tensor, counts_B: Tensor
    ) -> Tensor:
        image_ND, tag_MD = self.ranks.joined(full(image_BD)), self.ranks.joined(full(tag_PD))
        (labels_M, _), (counts_N, _) = self.ranks.join(labels_P), self.ranks.join(counts_B)
        shown_N = counts_N > 0
        if not shown_N.any():
            return (image_ND.sum() + tag_MD.sum()) * 0.0
        # Equal names have equal vectors: the first of each stands for all.
        names_C, column_M = labels_M.unique(return_inverse=True)
        places_M = torch.arange(len(labels_M), device=labels_M.device)
        first_C = places_M.new_full(names_C.shape, len(places_M)).scatter_reduce(0, column_M, places_M, "amin")
        row_M = torch.arange(len(counts_N), device=counts_N.device).repeat_interleave(counts_N)
        true_NC = image_ND.new_zeros(len(counts_N), len(names_C))
        true_NC[row_M, column_M] = 1.0
        true_NC, logits_NC = true_NC[shown_N], scale * (image_ND[shown_N] @ tag_MD[first_C].T)
        total = logits_NC.new_zeros(())
        for over in (1, 0):
            surprise_NC = logits_NC.logsumexp(dim=over, keepdim=True) - logits_NC
            total = total + ((true_NC * surprise_NC).sum(dim=over) / true_NC.sum(dim=over)).mean() / 2
        return total

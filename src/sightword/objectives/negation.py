"""Omni-NegCLIP (arXiv 2603.29258): a text that denies what is there is wrong, one that denies what is not there is
right, and CLIP is to learn both. With I, T, N and A the pictures, their captions, their captions with something denied
that is there (presence-based negation), and with something denied that is not (absence-based), s the scale:

    presence = (CE(s I [T ; N]^T) + CE(s T I^T) + mean CE(s [i.t, i.n], 0)) / 3
    absence  = InfoNCE(I, A) + original * InfoNCE(I, T) + text * mean max(0, t.a + margin)
    L        = presence + stage2 * absence + choice * which + mcq * question

Both in each step. The paper's text leaves the formulas open; these are those of the authors' code, and so are the
weights that are there by default. InfoNCE is symmetric, with half of each direction. The hinge is of cosines, without
the scale; at a margin near 1 it never ends, as no text can be near to a picture and opposite to another that is.

`which` is no part of the paper (choice = 0), and near to what NegBench trains with (arXiv 2501.09425): with F false
texts that affirm, each picture chooses between each of its true texts t, a and all of its false ones n, f,

    which    = (mean CE(s [i.t, i.n, i.f], 0) + mean CE(s [i.a, i.n, i.f], 0)) / 2

so that of what denies and of what affirms as much is true as false: neither is a cue. `question` is what NegBench does
train with: the cross-entropy of each picture's choice of the true one among the options of a question of its own,
the first of them (mcq = 0).

Deviations: one batch has captions of both kinds, where the authors read one of each kind from two data sets. Equal
captions are positives of each other, as everywhere in this package. A pair may lack either text: it then has no part in
the terms that are about it. Without the pairwise term the authors divide by 2 and not by 3 (presence = 1.5 here).

Shapes: B batch, D joint space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from sightword.data.pairs import NO_LABEL
from sightword.objectives.hard_negatives import HardNegatives
from sightword.objectives.infonce import InfoNCE
from sightword.objectives.ranks import Ranks
from sightword.objectives.tiles import full


@dataclass(frozen=True)
class NegationWeights:
    """presence, stage2: of the two losses. pairwise: of the presence loss's last term. original, text: of the absence
    loss's last two, and the margin of the last. choice: of the choice between true and false texts. mcq: of that among
    the options of a question."""

    presence: float = 1.0
    pairwise: float = 1.0
    stage2: float = 1.0
    original: float = 1.0
    text: float = 1.0
    margin: float = 0.9
    choice: float = 0.0
    mcq: float = 0.0


class OmniNegCLIP:
    """image_BD, text_BD, scale, labels, group: as for InfoNCE. denied, absent, foils: unit vectors [B, D] of these
    texts, and labels [B] of them, NO_LABEL where a pair has none; None where the weights of their losses are 0. mcq:
    unit vectors [P, D] of the options of all pairs, pair after pair, the true one first, and how many each has [B]."""

    def __init__(self, weights: NegationWeights = NegationWeights(), group: dist.ProcessGroup | None = None) -> None:
        self.weights, self.ranks = weights, Ranks(group)
        self.infonce, self.hard_negatives = InfoNCE(group=group), HardNegatives(group)

    def __call__(
        self,
        image_BD: Tensor,
        text_BD: Tensor,
        scale: Tensor | float,
        labels: Tensor | None,
        denied: tuple[Tensor, Tensor] | None,
        absent: tuple[Tensor, Tensor] | None,
        foils: tuple[Tensor, Tensor] | None = None,
        mcq: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        loss = image_BD.new_zeros((), dtype=full(image_BD).dtype)
        if self.weights.presence and denied is not None:
            loss = loss + self.weights.presence * self._presence(image_BD, text_BD, scale, labels, *denied)
        if self.weights.stage2 and absent is not None:
            loss = loss + self.weights.stage2 * self._absence(image_BD, text_BD, scale, labels, *absent)
        if self.weights.choice:
            true, false = (text_BD, None), [texts for texts in (denied, foils) if texts is not None]
            for text, marks in (true, absent) if absent is not None else (true,):
                loss = loss + self.weights.choice / 2 * self._choice(image_BD, text, marks, scale, false)
        if self.weights.mcq and mcq is not None:
            loss = loss + self.weights.mcq * self._question(image_BD, *mcq, scale)
        return loss

    def _question(self, image_BD: Tensor, option_PD: Tensor, counts_B: Tensor, scale: Tensor | float) -> Tensor:
        """Of pairs that have options."""
        row_P = torch.arange(len(counts_B), device=counts_B.device).repeat_interleave(counts_B)
        place_P = torch.arange(len(row_P), device=row_P.device) - (counts_B.cumsum(0) - counts_B)[row_P]
        score_P = scale * (full(image_BD)[row_P] * full(option_PD)).sum(dim=1)
        width = int(counts_B.max()) if len(counts_B) else 0
        logits = score_P.new_full((len(counts_B), width), -torch.inf).index_put((row_P, place_P), score_P)[counts_B > 0]
        return self._mean(logits.logsumexp(dim=1) - logits[:, 0] if width else score_P)

    def _choice(
        self,
        image_BD: Tensor,
        true_BD: Tensor,
        marks: Tensor | None,
        scale: Tensor | float,
        false: Sequence[tuple[Tensor, Tensor]],
    ) -> Tensor:
        """Of pairs that have the true text (marks: its labels) and one of the false ones at least."""
        image = full(image_BD)
        there = torch.stack([labels != NO_LABEL for _, labels in false], dim=1)
        asked = there.any(dim=1) if marks is None else there.any(dim=1) & (marks != NO_LABEL)
        true_B = scale * (image * full(true_BD)).sum(dim=1)
        false_BF = scale * torch.stack([(image * full(text)).sum(dim=1) for text, _ in false], dim=1)
        logits = torch.cat([true_B[:, None], false_BF.masked_fill(~there, -torch.inf)], dim=1)[asked]
        return self._mean(logits.logsumexp(dim=1) - logits[:, 0])

    def _presence(
        self,
        image_BD: Tensor,
        text_BD: Tensor,
        scale: Tensor | float,
        labels: Tensor | None,
        denied_BD: Tensor,
        denied_labels: Tensor,
    ) -> Tensor:
        both_ways = 2 * self.hard_negatives(image_BD, text_BD, scale, labels, denied_BD, denied_labels)
        if not self.weights.pairwise:
            return both_ways / 3
        there = denied_labels != NO_LABEL
        # The cross-entropy of two logits is the softplus of their difference.
        difference_BD = full(denied_BD[there]) - full(text_BD[there])
        wrong = F.softplus(scale * (full(image_BD[there]) * difference_BD).sum(dim=1))
        return (both_ways + self.weights.pairwise * self._mean(wrong)) / 3

    def _absence(
        self,
        image_BD: Tensor,
        text_BD: Tensor,
        scale: Tensor | float,
        labels: Tensor | None,
        absent_BD: Tensor,
        absent_labels: Tensor,
    ) -> Tensor:
        there = absent_labels != NO_LABEL
        absent, weights = absent_BD[there], self.weights
        marks = None if labels is None else torch.stack([labels[there, 0], absent_labels[there]], dim=1)
        (count,) = self.ranks.sum_(there.sum()[None])
        loss = image_BD.new_zeros((), dtype=full(image_BD).dtype)
        if count:
            loss = loss + self.infonce(image_BD[there], absent, scale, marks)
        if weights.original:
            loss = loss + weights.original * self.infonce(image_BD, text_BD, scale, labels)
        if weights.text:
            cosines = (full(text_BD[there]) * full(absent)).sum(dim=1)
            loss = loss + weights.text * self._mean((cosines + weights.margin).clamp(min=0))
        return loss

    def _mean(self, terms: Tensor) -> Tensor:
        """Over those of all ranks; 0 where there are none."""
        count = self.ranks.sum_(terms.new_tensor(float(len(terms))))
        return self.ranks.total(terms.sum()) / count.clamp(min=1)

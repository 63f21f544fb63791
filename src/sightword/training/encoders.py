"""Both towers as one module with one forward call, which is what several ranks can share the gradients of.

Shapes: B batch, K further texts, D joint space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightword.data.images import ImageSpec
from sightword.data.pairs import Batch, Beside, Kind, Tokens
from sightword.towers.dual import DualEncoder, unit
from sightword.training.bank import Bank, kept_features


class Terms(NamedTuple):
    """What a loss is made of. image, text: unit vectors [B, D]. scale, bias (of a sigmoid model): of the logits. more:
    further texts [K, D], which all pictures are held against. beside: unit vectors [B, D] of the companions that the
    batch holds; of a pair that has none, of nothing (see `Beside.there`). listed: of each kind of which the batch holds
    all of them, [P, D]."""

    image: Tensor
    text: Tensor
    scale: Tensor
    bias: Tensor | None
    more: Tensor | None
    beside: Mapping[Kind, Tensor]
    listed: Mapping[Kind, Tensor] = MappingProxyType({})

    def vectors(self) -> Sequence[Tensor]:
        """Of the batch: all that a loss differentiates the towers by."""
        return self.image, self.text, *self.beside.values(), *self.listed.values()


class Encoders(nn.Module):
    """pixels: how pictures are normalised. bf16: run the towers in bfloat16. While the text encoder is locked, what it
    gives is kept; with a `bank`, its texts are the further ones."""

    def __init__(self, model: DualEncoder, pixels: ImageSpec, bf16: bool) -> None:
        super().__init__()
        self.model, self.pixels, self.bf16 = model, pixels, bf16
        self.kept = kept_features(model)
        self.bank: Bank | None = None

    def forward(self, batch: Batch, again: bool = False) -> Terms:
        """again: for the gradients alone: instead of the vectors of a tower that does not train there is nothing."""
        model, rows = self.model, len(batch)
        if not rows:
            # A rank of which no picture could be read, or a last piece that got none. Not every layer takes nothing:
            # something blank goes through, and none of its vectors are given, so that its gradients are zero.
            batch = blank(batch)
        image = text = model.scale.new_empty(0).detach()
        beside: dict[Kind, Tensor] = {}
        listed: Mapping[Kind, Tensor] = {}
        with torch.autocast(batch.images.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            if not again or _trains(model.image):
                image = self._seen(batch)
            if not again or _trains(model.text):
                more_texts = [texts.tokens for texts in batch.beside.values()]
                more_texts += [texts.tokens for texts in batch.listed.values()]
                text, *others = self._encode_texts([batch.tokens, *more_texts])
                beside = {kind: vectors[:rows] for kind, vectors in zip(batch.beside, others, strict=False)}
                listed = dict(zip(batch.listed, others[len(beside) :], strict=True))
        more = self.bank.vectors() if self.bank else None
        return Terms(image[:rows], text[:rows], model.scale, model.logit_bias, more, beside, listed)

    def _seen(self, batch: Batch) -> Tensor:
        if batch.seen is not None:
            return batch.seen
        return self.model.encode_image(self.pixels.normalise(batch.images), batch.keep)

    def _encode_texts(self, texts: Sequence[Tokens]) -> Sequence[Tensor]:
        """All of them at once: one pass fills the cores better than several, and is what FSDP gathers weights for."""
        if len(texts) == 1:
            return [self.encode_text(texts[0])]
        width = max(tokens.ids.shape[1] for tokens in texts)
        # Texts differ in width only where the tower looks at no padding: zeros will do.
        ids = torch.cat([F.pad(tokens.ids, (0, width - tokens.ids.shape[1])) for tokens in texts])
        vectors = self.encode_text(Tokens(ids, torch.cat([tokens.lengths for tokens in texts])))
        return vectors.split([len(tokens) for tokens in texts])

    def encode_text(self, tokens: Tokens) -> Tensor:
        """Tokens to unit vectors [B, D], with what a locked encoder gave before."""
        if self.kept is None:
            return self.model.encode_text(tokens)
        return unit(self.kept.tower.project(self.kept(tokens)))


def _trains(tower: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in tower.parameters())


def blank(batch: Batch) -> Batch:
    """One row of nothing, of the kind of the batch's."""
    images = batch.images.new_zeros(1, *batch.images.shape[1:])
    keep = None if batch.keep is None else batch.keep.new_zeros(1, batch.keep.shape[1])
    beside = {kind: Beside(_nothing(texts.tokens), texts.labels) for kind, texts in batch.beside.items()}
    draws = batch.draws.new_zeros(1)
    seen = None if batch.seen is None else batch.seen.new_zeros(1, batch.seen.shape[1])
    return replace(
        batch, images=images, seen=seen, tokens=_nothing(batch.tokens), keep=keep, beside=beside, draws=draws
    )


def _nothing(tokens: Tokens) -> Tokens:
    return Tokens(tokens.ids.new_zeros(1, max(1, tokens.ids.shape[1])), tokens.lengths.new_ones(1))

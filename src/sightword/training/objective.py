"""The loss of a recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch.distributed as dist
from torch import Tensor

from sightword.data.pairs import Batch, Kind
from sightword.errors import RequestError
from sightword.objectives import HardNegatives, InfoNCE, LongText, NegationWeights, OmniNegCLIP, Sigmoid, Tagging
from sightword.objectives.ranks import Ranks
from sightword.towers.dual import DualEncoder
from sightword.training.encoders import Terms
from sightword.training.loss_recipe import LongRecipe, NegationRecipe
from sightword.training.recipe import TrainingRecipe

# Of terms, the batch that they are of, and labels of the further texts (Terms.more).
Objective: TypeAlias = Callable[[Terms, Batch, Tensor | None], Tensor]


def make_objective(training: TrainingRecipe, model: DualEncoder, group: dist.ProcessGroup | None) -> Objective:
    """group: the ranks that share a batch. A bias that the loss has no use for is locked. Raises RequestError for a
    model that it is not for."""
    objective = _objective(training, model, group)
    return _tagged(objective, Tagging(group), training.tag_loss) if training.tag_loss else objective


def _objective(training: TrainingRecipe, model: DualEncoder, group: dist.ProcessGroup | None) -> Objective:
    biased = model.logit_bias is not None
    if training.loss == "sigmoid" or (training.loss is None and biased):
        if not biased or training.smoothing:
            what = "training.smoothing" if biased else "a start that has no bias of the logits"
            raise RequestError(f"the sigmoid loss does not go with {what}: set training.loss to infonce")
        if training.positives == "pairs":
            raise RequestError("training.positives = 'pairs' is for InfoNCE, and this start has the sigmoid loss")
        return _sigmoid(Sigmoid(group=group))
    if model.logit_bias is not None:
        model.logit_bias.requires_grad_(False)
    match training.loss:
        case "omni-neg":
            return _omni_neg(OmniNegCLIP(_weights(training.negation or NegationRecipe()), group))
        case "negclip" | "con-clip":
            (kind,) = training.kinds
            return _hard_negatives(HardNegatives(group), kind)
        case "long-clip":
            return _long_text(_long(training, model, group))
        case _:
            return _infonce(InfoNCE(training.smoothing, group), training.positives == "labels")


def _infonce(infonce: InfoNCE, labelled: bool) -> Objective:
    def objective(terms: Terms, batch: Batch, more_labels: Tensor | None) -> Tensor:
        labels = batch.labels if labelled else None
        return infonce(terms.image, terms.text, terms.scale, labels, terms.more, more_labels)

    return objective


def _tagged(untagged: Objective, tagging: Tagging, weight: float) -> Objective:
    def objective(terms: Terms, batch: Batch, more_labels: Tensor | None) -> Tensor:
        tags = batch.listed["tags"]
        named = tagging(terms.image, terms.listed["tags"], terms.scale, tags.labels, tags.counts)
        return untagged(terms, batch, more_labels) + weight * named

    return objective


def _sigmoid(sigmoid: Sigmoid) -> Objective:
    def objective(terms: Terms, batch: Batch, more_labels: Tensor | None) -> Tensor:
        assert terms.bias is not None
        return sigmoid(terms.image, terms.text, terms.scale, terms.bias, batch.labels, terms.more, more_labels)

    return objective


def _hard_negatives(hard_negatives: HardNegatives, kind: Kind) -> Objective:
    def objective(terms: Terms, batch: Batch, more_labels: Tensor | None) -> Tensor:
        negative_BD, labels = _beside(terms, batch, kind)
        return hard_negatives(terms.image, terms.text, terms.scale, batch.labels, negative_BD, labels)

    return objective


def _omni_neg(omni_neg: OmniNegCLIP) -> Objective:
    def objective(terms: Terms, batch: Batch, more_labels: Tensor | None) -> Tensor:
        denied, absent, foils = (
            _beside(terms, batch, kind) if kind in terms.beside else None for kind in ("denied", "absent", "foils")
        )
        mcq = (terms.listed["mcq"], batch.listed["mcq"].counts) if "mcq" in terms.listed else None
        return omni_neg(terms.image, terms.text, terms.scale, batch.labels, denied, absent, foils, mcq)

    return objective


def _long(training: TrainingRecipe, model: DualEncoder, group: dist.ProcessGroup | None) -> LongText:
    asked = training.long or LongRecipe()
    loss = LongText(asked.components, asked.short, training.smoothing, group)
    ranks, dim = Ranks(group).count, model.config.embed_dim
    fewest = min(training.batch_size // ranks, dim + 1)
    if fewest < loss.fewest:
        raise RequestError(
            f"training.long.components = {loss.components}: of {training.batch_size // ranks} pictures in {dim} "
            f"dimensions, on a rank, nothing would be left out for the short captions. Give fewer components (at most "
            f"{fewest - 2}), or a rank {loss.fewest} pictures"
        )
    return loss


def _long_text(long_text: LongText) -> Objective:
    def objective(terms: Terms, batch: Batch, more_labels: Tensor | None) -> Tensor:
        long_BD, labels = _beside(terms, batch, "long")
        return long_text(terms.image, terms.text, long_BD, terms.scale, batch.labels, labels)

    return objective


def _weights(asked: NegationRecipe) -> NegationWeights:
    return NegationWeights(**asked.model_dump())


def _beside(terms: Terms, batch: Batch, kind: Kind) -> tuple[Tensor, Tensor]:
    """Vectors and labels."""
    return terms.beside[kind], batch.beside[kind].labels

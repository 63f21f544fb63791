"""AdamW or Muon with decay on matrices only, a warm-up and a cosine; the average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from sightword.towers.backbone import ImageBackbone, TextEncoder
from sightword.towers.dual import DualEncoder
from sightword.training.model_recipe import PretrainedImage, PretrainedText, TunedTower
from sightword.training.muon import Muon, matrices
from sightword.training.recipe import Recipe, TrainingRecipe
from sightword.training.shards import own


def make_optimizer(model: DualEncoder, recipe: Recipe) -> torch.optim.AdamW:
    """Groups by (learning rate, decay, by Muon). Gains, biases, tokens of one dimension and the scale do not decay."""
    training, rates = recipe.training, _rates(model, recipe)
    by_muon = matrices(model) if training.optimizer == "muon" else set()
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            decay = training.decay if parameter.ndim >= 2 else 0.0
            key = (rates.get(id(parameter), 1.0), decay, id(parameter) in by_muon)
            groups.setdefault(key, []).append(parameter)
    kind = Muon if training.optimizer == "muon" else torch.optim.AdamW
    return kind(
        [
            {"params": found, "rate": rate, "weight_decay": decay, "muon": muon}
            for (rate, decay, muon), found in groups.items()
        ],
        lr=training.lr,
        betas=training.betas,
        eps=training.eps,
        # One pass over weights, gradients and moments, where the plain one makes ten.
        fused=model.log_scale.device.type in ("cpu", "cuda"),
    )


def _rates(model: DualEncoder, recipe: Recipe) -> dict[int, float]:
    """By the id of a parameter, its learning rate as a share of the run's; 1 where none is said."""
    rates = {id(model.log_scale): recipe.training.scale_lr}
    for tower, part in ((model.image, recipe.model.image), (model.text, recipe.model.text)):
        if isinstance(part, TunedTower):
            rates |= {id(parameter): part.lr for parameter in tower.parameters()}
        elif isinstance(tower, ImageBackbone | TextEncoder) and isinstance(part, PretrainedImage | PretrainedText):
            rates |= {id(parameter): part.lr for parameter in tower.backbone.parameters()}
        stages = tower.stages()
        for depth, stage in enumerate(stages):
            for parameter in stage.parameters():
                factor = recipe.training.layer_decay ** (len(stages) - depth)
                rates[id(parameter)] = factor * rates.get(id(parameter), 1.0)
    return rates


def learning_rate(training: TrainingRecipe, step: int) -> float:
    """Of step number `step`, counted from 0: linear to the full rate over the warm-up, then a cosine to zero."""
    if step < training.warmup:
        return training.lr * (step + 1) / training.warmup
    share = (step - training.warmup) / max(1, training.steps - training.warmup)
    return training.lr * (1 + math.cos(math.pi * share)) / 2


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate"]


class Average:
    """An exponential moving average of the floating-point state (weights and BatchNorm statistics).

    The factor grows with the steps, (1 + t) / (10 + t) up to `factor`, so that the random start is soon forgotten.
    """

    def __init__(self, model: nn.Module, factor: float) -> None:
        self.factor = factor
        self.steps = 0
        self.state = {name: tensor.detach().clone() for name, tensor in _floats(model)}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.steps += 1
        weight = 1 - min(self.factor, (1 + self.steps) / (10 + self.steps))
        averages, values = [], []
        for name, tensor in _floats(model):
            averages.append(own(self.state[name]))
            values.append(own(tensor))
        torch._foreach_lerp_(averages, values, weight)


def _floats(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return ((name, tensor) for name, tensor in model.state_dict().items() if tensor.is_floating_point())

"""What a recipe and its pairs make: model, optimizer, loader, stepper and average, at the start or at some step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sightword.data.augment import Augment
from sightword.data.loader import Loader
from sightword.data.pairs import Source
from sightword.towers.dual import DualEncoder
from sightword.training.build import Built, build
from sightword.training.data import training_texts
from sightword.training.fit import fit_projection
from sightword.training.optimizer import Average, make_optimizer
from sightword.training.randomness import random_state, set_random_state
from sightword.training.recipe import PretrainedImage, Recipe
from sightword.training.step import Stepper
from sightword.training.views import Views


@dataclass
class Setup:
    """All that steps change is in `state()`."""

    built: Built
    loader: Loader
    views: Views
    optimizer: torch.optim.Optimizer
    stepper: Stepper
    average: Average | None
    device: torch.device

    @property
    def model(self) -> DualEncoder:
        return self.stepper.model

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state if self.average else {},
            "random": random_state(self.device),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()` after `step` steps. The model was set up with its weights."""
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average:
            self.average.steps = state["step"]
            for name, tensor in self.average.state.items():
                tensor.copy_(state["average"][name])
        set_random_state(state["random"], self.device)

    def weights(self) -> dict[str, Tensor]:
        """Those that are the model: the average where there is one."""
        return self.model.state_dict() | (self.average.state if self.average else {})


def set_up(recipe: Recipe, pairs: Source, device: torch.device, weights: Mapping[str, Tensor] | None = None) -> Setup:
    """weights: to go on with; None begins with those of the recipe."""
    training = recipe.training
    texts = training_texts(pairs, recipe.data.templates, recipe.data.first_text < 1)
    built = build(recipe, texts)
    model = built.model.to(device)
    if recipe.model.image.kind != "vit":
        # Convolutions are faster so.
        model.image.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if weights is not None:
        model.load_state_dict(weights)
    loader = Loader(
        source=pairs,
        tokenizer=built.tokenizer,
        spec=built.contract.image,
        augment=recipe.augment,
        batch_size=training.batch_size,
        seed=recipe.seed,
        templates=recipe.data.templates,
        first=recipe.data.first_text,
        workers=recipe.data.workers,
    )
    optimizer = make_optimizer(model, recipe)
    stepper = Stepper(model, built.contract, optimizer, recipe, device)
    if stepper.kept:
        stepper.kept.learn(texts, built.tokenizer, device)
    if training.bank:
        stepper.hold_against(sorted({pair.name for pair in pairs}), built.tokenizer)
    if weights is None and isinstance(recipe.model.image, PretrainedImage) and recipe.model.image.fit:
        # One look at every picture as it is, without augmentation.
        still = replace(loader, augment=Augment(), templates=("{}",), first=1.0)
        fit_projection(model, still, recipe.model.image.fit, device, stepper.encode_text)
    average = Average(model, training.ema) if training.ema else None
    return Setup(built, loader, Views(recipe.model, training), optimizer, stepper, average, device)

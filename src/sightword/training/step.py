"""One optimizer step: forward, loss, backward, update."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sightword.checkpoints.contract import Contract
from sightword.data.pairs import Batch, Tokens
from sightword.data.tokenizer import Tokenizer
from sightword.errors import RequestError, SightwordError
from sightword.objectives import InfoNCE
from sightword.towers.dual import DualEncoder
from sightword.training.bank import Bank, kept_features
from sightword.training.optimizer import set_learning_rate
from sightword.training.recipe import Recipe


class Stepper:
    """Holds what a step needs, and nothing of the run around it."""

    def __init__(
        self,
        model: DualEncoder,
        contract: Contract,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        device: torch.device,
    ) -> None:
        self.model, self.contract, self.optimizer, self.device = model, contract, optimizer, device
        self.clip = recipe.training.clip
        self.half = recipe.training.precision == "bf16" or (
            recipe.training.precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
        )
        self.objective = InfoNCE()
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.kept = kept_features(model)
        self.bank: Bank | None = None
        model.train()

    def step(self, batch: Batch, rate: float) -> dict[str, float]:
        """The figures of the step. An empty batch (nothing in it could be read) changes nothing."""
        if not len(batch):
            return {"loss": 0.0, "scale": float(self.model.scale.detach()), "lr": rate, "gradient": 0.0}
        batch = batch.to(self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.half):
            image_BD = self.model.encode_image(self.contract.image.normalise(batch.images), batch.keep)
            text_BD = self.encode_text(batch.tokens)
        more, more_labels = (self.bank.vectors(), self.bank.labels) if self.bank else (None, None)
        loss = self.objective(image_BD, text_BD, self.model.scale, batch.labels, more, more_labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradient = nn.utils.clip_grad_norm_(self.parameters, self.clip or float("inf"))
        figures = {
            "loss": float(loss.detach()),
            "scale": float(self.model.scale.detach()),
            "lr": rate,
            "gradient": float(gradient),
        }
        if not torch.isfinite(gradient):
            raise SightwordError(
                f"the gradient is not finite (loss {figures['loss']}): lower training.lr, or set training.precision "
                f"to fp32; the batch begins with {batch.keys[0]}"
            )
        set_learning_rate(self.optimizer, rate)
        self.optimizer.step()
        self.model.clamp_scale()
        return figures

    def hold_against(self, names: Sequence[str], tokenizer: Tokenizer) -> None:
        """From now on, each picture is held against all of these names."""
        if self.kept is None:
            raise RequestError("training.bank needs a locked text encoder: model.text.train = 'head'")
        self.bank = Bank(self.kept, tokenizer, names, self.device)

    def encode_text(self, tokens: Tokens) -> Tensor:
        """Tokens to unit vectors [B, D], with what a locked encoder gave before."""
        if self.kept is None:
            return self.model.encode_text(tokens)
        return nn.functional.normalize(self.kept.tower.project(self.kept(tokens)).float(), dim=-1)

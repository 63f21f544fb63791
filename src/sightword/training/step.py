"""One optimizer step: forward, loss, backward, update."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sightword.checkpoints.contract import Contract
from sightword.data.pairs import Batch, Tokens
from sightword.errors import SightwordError
from sightword.objectives import InfoNCE
from sightword.towers.backbone import TextEncoder
from sightword.towers.dual import DualEncoder
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
        self.kept_text = _KeptFeatures(model.text) if isinstance(model.text, TextEncoder) else None
        model.train()

    def step(self, batch: Batch, rate: float) -> dict[str, float]:
        """The figures of the step. An empty batch (nothing in it could be read) changes nothing."""
        if not len(batch):
            return {"loss": 0.0, "scale": float(self.model.scale.detach()), "lr": rate, "gradient": 0.0}
        batch = batch.to(self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.half):
            image_BD = self.model.encode_image(self.contract.image.normalise(batch.images))
            text_BD = self._encode_text(batch.tokens)
        loss = self.objective(image_BD, text_BD, self.model.scale, batch.labels)
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

    def _encode_text(self, tokens: Tokens) -> Tensor:
        if self.kept_text is None or not self.kept_text.locked:
            return self.model.encode_text(tokens)
        tower = self.kept_text.tower
        return nn.functional.normalize(tower.project(self.kept_text(tokens)).float(), dim=-1)


class _KeptFeatures:
    """What a wholly locked text backbone gives for a text never changes: it is computed once a text."""

    def __init__(self, tower: TextEncoder, limit: int = 100_000) -> None:
        self.tower, self.limit = tower, limit
        self.locked = not any(parameter.requires_grad for parameter in tower.backbone.parameters())
        self.known: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, tokens: Tokens) -> Tensor:
        rows = [tuple(row[:length]) for row, length in zip(tokens.ids.tolist(), tokens.lengths.tolist(), strict=True)]
        new = [i for i, row in enumerate(rows) if row not in self.known]
        if new:
            with torch.no_grad():
                features = self.tower.features(Tokens(tokens.ids[new], tokens.lengths[new])).float()
            if len(self.known) + len(new) > self.limit:
                self.known.clear()
                return self(tokens)
            self.known |= {rows[i]: feature for i, feature in zip(new, features, strict=True)}
        return torch.stack([self.known[row] for row in rows])

"""One optimizer step: forward, loss, backward, update."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sightword.checkpoints.contract import Contract
from sightword.data.pairs import Batch, Tokens
from sightword.data.tokenizer import Tokenizer
from sightword.errors import RequestError
from sightword.objectives import InfoNCE
from sightword.towers.dual import DualEncoder
from sightword.training.bank import Bank, kept_features
from sightword.training.optimizer import set_learning_rate
from sightword.training.recipe import Recipe
from sightword.training.teacher import Teacher


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
        self.teacher: Teacher | None = None
        self.clip = recipe.training.clip
        self.half = recipe.training.precision == "bf16" or (
            recipe.training.precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
        )
        self.objective = InfoNCE()
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.kept = kept_features(model)
        self.bank: Bank | None = None
        self.norm = torch.zeros(())  # of the gradients, before they are clipped
        model.train()

    def gradients(self, batch: Batch, rate: float) -> dict[str, float]:
        """Leave the gradients of the batch in the parameters, as they are (not clipped), and give the figures of the
        step: loss, scale, lr and the norm of the gradient. An empty batch (nothing in it could be read) leaves none."""
        self.optimizer.zero_grad(set_to_none=True)
        figures = {"loss": 0.0, "scale": float(self.model.scale.detach()), "lr": rate, "gradient": 0.0}
        if len(batch):
            batch = (self.teacher(batch) if self.teacher else batch).to(self.device)
            figures |= {name: float(loss) for name, loss in self.backward(batch).items()}
            self.norm = nn.utils.get_total_norm(self._gradients())
            figures["gradient"] = float(self.norm)
        return figures

    def backward(self, batch: Batch) -> dict[str, Tensor]:
        """Leave the gradients of the batch in the parameters; gives its loss, and with a teacher also that without."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.half):
            image_BD = self.model.encode_image(self.contract.image.normalise(batch.images), batch.keep)
            text_BD = self.encode_text(batch.tokens)
        more, more_labels = (self.bank.vectors(), self.bank.labels) if self.bank else (None, None)
        loss = self.objective(image_BD, text_BD, self.model.scale, batch.labels, more, more_labels)
        told = {"loss": loss.detach()}
        if self.teacher:
            told["task_loss"] = told["loss"]
            loss = self.teacher.loss(loss, image_BD, text_BD, self.model.scale, batch)
            told["loss"] = loss.detach()
        loss.backward()
        return told

    def update(self, rate: float) -> None:
        """Take the step that the gradients say, clipped."""
        nn.utils.clip_grads_with_norm_(self.parameters, self.clip or float("inf"), self.norm)
        set_learning_rate(self.optimizer, rate)
        self.optimizer.step()
        self.model.clamp_scale()

    def _gradients(self) -> list[Tensor]:
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]

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

"""One optimizer step: forward, loss, backward, update."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sightword.checkpoints.contract import Contract
from sightword.data.pairs import Batch
from sightword.data.tokenizer import Tokenizer
from sightword.errors import RequestError
from sightword.towers.compiled import Compiled
from sightword.towers.dual import DualEncoder
from sightword.towers.recompute import recompute_blocks
from sightword.training.bank import Bank
from sightword.training.big_batch import backward_in_pieces, refuse_batch_statistics, split
from sightword.training.encoders import Encoders, Terms
from sightword.training.objective import make_objective
from sightword.training.optimizer import make_optimizer, set_learning_rate
from sightword.training.precision import in_bf16
from sightword.training.ranks import ALONE, World
from sightword.training.recipe import Recipe, TrainingRecipe
from sightword.training.seen import Seen
from sightword.training.shards import average_whole, shard, total_norm
from sightword.training.teacher import Teacher


class Stepper:
    """Holds what a step needs, and nothing of the run around it. sharded: whether the ranks share the model."""

    def __init__(
        self,
        model: DualEncoder,
        contract: Contract,
        recipe: Recipe,
        device: torch.device,
        world: World = ALONE,
    ) -> None:
        training = recipe.training
        self.model, self.recipe, self.device, self.world = model, recipe, device, world
        self.sharded = training.parallel == "fsdp" and world.size > 1
        self.teacher: Teacher | None = None
        self.seen: Seen | None = None
        self.clip = training.clip
        self.half = in_bf16(training.precision, device)
        self.rows = 0  # of the last batch, on all ranks
        self.norm = torch.zeros(())  # of the gradients, before they are clipped
        model.train()
        self.pieces = pieces(training, world)
        if self.pieces > 1 or world.size > 1:
            refuse_batch_statistics(model, "training.micro_batch" if self.pieces > 1 else "several ranks")
        self.encoders = self.make_encoders(contract)
        self.compiled: Compiled | None = None
        if training.compile and self.sharded:
            raise RequestError("training.compile and training.parallel = 'fsdp' do not go together: leave one out")
        if training.compile:
            # A text tower whose features are kept computes each of them once.
            towers = (model.image, model.text) if self.encoders.kept is None else (model.image,)
            self.compiled = Compiled(*towers, recomputed=training.checkpoint_blocks)
        if training.checkpoint_blocks:
            recompute_blocks(model.image)
            recompute_blocks(model.text)

    def make_encoders(self, contract: Contract) -> Encoders:
        """What turns batches into the terms of the loss."""
        self.objective = make_objective(self.recipe.training, self.model, self.world.group)
        return Encoders(self.model, contract.image, self.half)

    def loss(self, terms: Terms, batch: Batch) -> Tensor:
        """Of the batch of all ranks, from the terms of this one's rows."""
        return self.objective(terms, batch, self.encoders.bank.labels if self.encoders.bank else None)

    @property
    def scale(self) -> Tensor:
        """That of the logits."""
        return self.model.scale

    def begin(self) -> None:
        """Share the model among the ranks, and make the optimizer of what each of them holds: before the first step,
        and after all that looks at the weights as a whole."""
        if self.sharded:
            self._shared: nn.Module = shard(self.encoders, self.world.group, self.device)
        else:
            self._shared = self.world.share(self.encoders)
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = make_optimizer(self.model, self.recipe)

    def gradients(self, batch: Batch, rate: float) -> dict[str, float]:
        """Leave the gradients of the batch (of all ranks) in the parameters, as they are (not clipped), and give the
        figures of the step: loss, scale, lr and the norm of the gradient. An empty batch (nothing in it could be read
        by any rank) leaves none."""
        self.optimizer.zero_grad(set_to_none=True)
        figures = {"loss": 0.0, "scale": float(self.scale.detach()), "lr": rate, "gradient": 0.0}
        (self.rows,) = self.world.total(len(batch))
        if self.rows:
            batch = self.teacher(batch) if self.teacher else batch
            batch = (self.seen(batch) if self.seen else batch).to(self.device)
            figures |= {name: float(loss) for name, loss in self.backward(batch).items()}
            self.norm = total_norm(self._gradients())
            figures["gradient"] = float(self.norm)
        return figures

    def update(self, rate: float) -> None:
        """Take the step that the gradients say, clipped."""
        nn.utils.clip_grads_with_norm_(self.parameters, self.clip or float("inf"), self.norm)
        set_learning_rate(self.optimizer, rate)
        self.optimizer.step()
        self.model.clamp_scale()

    def _gradients(self) -> list[Tensor]:
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]

    def backward(self, batch: Batch) -> dict[str, Tensor]:
        """Leave the gradients of the batch of all ranks in the parameters; gives its loss, and with a teacher also that
        without."""
        told: dict[str, Tensor] = {}

        def loss_of(terms: Terms) -> Tensor:
            # Autocast is no more than leave to round here: the losses decide where that pays.
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.half):
                loss = self.loss(terms, batch)
            if self.teacher:
                told["task_loss"] = loss.detach()
                loss = self.teacher.loss(loss, terms.image, terms.text, terms.scale, batch)
            told["loss"] = loss.detach()
            return loss

        if self.pieces > 1:
            parts = split(batch, self.pieces)
            backward_in_pieces(self.encoders, self._shared, parts, loss_of, self.world.unshared(self._shared))
        else:
            loss_of(self._shared(batch)).backward()
        if self.sharded:
            average_whole(self.parameters, self.world.group)
        return told

    def hold_against(self, names: Sequence[str], tokenizer: Tokenizer) -> None:
        """From now on, each picture is held against all of these names. Each rank encodes a share of them."""
        if self.encoders.kept is None:
            raise RequestError("training.bank needs a locked text encoder: model.text.train = 'head'")
        share = self.world.part(len(names))
        self.encoders.bank = Bank(self.encoders.kept, tokenizer, names[share], self.device)


def pieces(training: TrainingRecipe, world: World) -> int:
    """Into how many pieces every rank cuts its share of a batch: as many as the largest share needs."""
    largest = -(-training.batch_size // world.size)
    return -(-largest // training.micro_batch) if training.micro_batch else 1

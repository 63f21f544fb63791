"""Steps that would spoil the weights: a loss or gradient that is not finite, and one far above what is usual.

Such a step is refused before it is taken. The run ends, and `bad-step-00000370.pt` in its folder holds the batch, the
weights before it and the random state, so that `replay` computes the very step again; or, where the recipe says so, the
batch is left out and named in the log.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from sightword.data.pairs import Batch, Beside, Listed, Source, Tokens, Truth
from sightword.embedding.embedder import find_device
from sightword.errors import RequestError, SightwordError
from sightword.training.folder import RECIPE
from sightword.training.log import RunLog
from sightword.training.randomness import random_state, set_random_state
from sightword.training.recipe import Recipe, TrainingRecipe
from sightword.training.setup import Setup, set_up
from sightword.training.shards import own
from sightword.training.snapshots import read, write

_WINDOW = 100  # steps whose median is usual
_FIRST = 20  # steps before anything can be unusual
_IN_A_ROW = 10  # steps that are left out before the run ends
_NAMED = 5  # parameters and keys in a message


@dataclass(frozen=True)
class Replay:
    """A step that was refused, computed again. gradient: its norm; gradients: of each parameter; keys: of the pairs."""

    step: int
    loss: float
    gradient: float
    gradients: dict[str, float]
    keys: tuple[str, ...]


class Guard:
    """Looks at the figures of each step before it is taken."""

    def __init__(self, training: TrainingRecipe, setup: Setup, folder: Path, log: RunLog) -> None:
        self.training, self.setup, self.folder, self.log = training, setup, folder, log
        self._usual: deque[float] = deque(maxlen=_WINDOW)
        self._left_out = 0
        self._random: list[Tensor] = []
        self._buffers: list[Tensor] = []

    def state(self) -> dict[str, Any]:
        return {"usual": list(self._usual), "left_out": self._left_out}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._usual.extend(state["usual"])
        self._left_out = state["left_out"]

    def before(self) -> None:
        """Remember what the step is about to change without being taken: the random state, and running statistics."""
        self._random = random_state(self.setup.device)
        if self.training.on_spike == "skip":
            self._buffers = [buffer.clone() for buffer in self.setup.model.buffers()]

    def allows(self, step: int, batch: Batch, figures: Mapping[str, float]) -> bool:
        """Whether the step, whose gradients are there, may be taken. Raises SightwordError where the run is to end."""
        reason = self._judge(figures)
        if reason is None:
            self._usual.append(figures["gradient"])
            self._left_out = 0
            return True
        found = set(self.setup.stepper.world.join(not_finite(self.setup.model)))
        bad = [name for name, _ in self.setup.model.named_parameters() if name in found]
        self._left_out += 1
        told = {"step": step, "reason": reason, "keys": list(batch.keys), "parameters": bad}
        if self.training.on_spike == "skip" and self._left_out <= _IN_A_ROW:
            self.log.write("left_out", **told)
            for buffer, before in zip(self.setup.model.buffers(), self._buffers, strict=True):
                buffer.copy_(before)
            return False
        file = self.folder / f"bad-step-{step:08}.pt"
        write(file, self._record(step, batch, figures, reason, bad))
        self.log.write("bad_step", **told, file=file.name)
        raise SightwordError(
            f"step {step}: {reason}. The step was not taken. {_of_parameters(bad)}The batch begins with "
            f'{", ".join(batch.keys[:2])} (log.jsonl names all). Look at it: python -c "from '
            f'sightword.evaluation.experiment import replay_step; print(replay_step({str(file)!r}))". To go on: '
            "the same command with --set training.on_spike=skip leaves such batches out; or begin anew with "
            "a lower training.lr, a longer training.warmup, or training.precision fp32"
        )

    def _judge(self, figures: Mapping[str, float]) -> str | None:
        loss, gradient = figures["loss"], figures["gradient"]
        if not (math.isfinite(loss) and math.isfinite(gradient)):
            return f"the loss is {loss} and the norm of the gradient {gradient}"
        if self.training.spike and len(self._usual) >= _FIRST:
            usual = median(self._usual)
            if gradient > self.training.spike * usual:
                return (
                    f"the norm of the gradient is {gradient:.4g}, more than {self.training.spike:g} times {usual:.4g}"
                )
        return None

    def _record(
        self, step: int, batch: Batch, figures: Mapping[str, float], reason: str, bad: list[str]
    ) -> dict[str, Any]:
        return {
            "step": step,
            "reason": reason,
            "keys": list(batch.keys),
            "parameters": bad,
            "figures": dict(figures),
            "images": batch.images,
            "ids": batch.tokens.ids,
            "lengths": batch.tokens.lengths,
            "labels": batch.labels,
            "draws": batch.draws,
            "keep": batch.keep,
            "texts": list(batch.texts),
            "places": list(batch.places),
            "masks": None if batch.truth is None else batch.truth.masks,
            "beside": {
                kind: (texts.tokens.ids, texts.tokens.lengths, texts.labels) for kind, texts in batch.beside.items()
            },
            "listed": {
                kind: (texts.tokens.ids, texts.tokens.lengths, texts.labels, texts.counts)
                for kind, texts in batch.listed.items()
            },
            "choices": None if batch.truth is None else [list(labels) for labels in batch.truth.labels],
            "weights": self.setup.gathered(self.setup.model.state_dict()),
            "random": self._random,
        }


def not_finite(model: nn.Module) -> list[str]:
    """The names of the parameters whose gradients are not finite."""
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and not bool(torch.isfinite(own(parameter.grad)).all())
    ]


def _of_parameters(names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"Not finite are the gradients of {', '.join(names[:_NAMED])}{more}. "


def replay(file: str | Path, recipe: Recipe, pairs: Source, device: str = "auto") -> Replay:
    """Compute a refused step again, from the file that it left. recipe, pairs: those of the run.

    On the device where it happened, loss and gradients are the same to the bit. Raises RequestError for another file.
    """
    record = read(Path(file))
    if "images" not in record:
        raise RequestError(f"{file}: holds no step that was refused (bad-step-*.pt of a run's folder, beside {RECIPE})")
    setup = set_up(recipe, pairs, find_device(device), record["weights"])
    batch = Batch(
        images=record["images"],
        tokens=Tokens(record["ids"], record["lengths"]),
        labels=record["labels"],
        keys=tuple(record["keys"]),
        draws=record["draws"],
        keep=record["keep"],
        texts=tuple(record["texts"]),
        places=tuple(record["places"]),
        truth=None if record["masks"] is None else Truth(record["masks"], tuple(map(tuple, record["choices"]))),
        beside={
            kind: Beside(Tokens(ids, lengths), labels)
            for kind, (ids, lengths, labels) in record.get("beside", {}).items()
        },
        listed={
            kind: Listed(Tokens(ids, lengths), labels, counts)
            for kind, (ids, lengths, labels, counts) in record.get("listed", {}).items()
        },
    )
    setup.look(Path(file).parent)
    setup.teach(Path(file).parent)
    set_random_state(record["random"], setup.device)
    figures = setup.stepper.gradients(batch, record["figures"]["lr"])
    gradients = {
        name: float(parameter.grad.norm())
        for name, parameter in setup.model.named_parameters()
        if parameter.grad is not None
    }
    return Replay(record["step"], figures["loss"], figures["gradient"], gradients, batch.keys)

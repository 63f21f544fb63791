"""The trainer: one loop for every recipe.

A run is a folder: `recipe.toml` (resolved), `log.jsonl`, `snapshots/`, and in the end `model/`. Whenever it is killed,
the same command goes on from the newest snapshot, and ends with the very weights of a run that was not.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from sightword.checkpoints.contract import Contract
from sightword.checkpoints.native import save_checkpoint
from sightword.data.pairs import Batch, Source
from sightword.embedding.embedder import Embedder, find_device
from sightword.errors import FullDiskError, RequestError, SightwordWarning, StoppedError
from sightword.files import LOCK
from sightword.training.clock import Clock
from sightword.training.folder import LOG, MODEL, RECIPE, SNAPSHOTS, check_folder, held, write_recipe
from sightword.training.guard import Guard
from sightword.training.interpolate import Choice, choose_alpha, mix, score_of
from sightword.training.journal import Journal
from sightword.training.log import read_log
from sightword.training.measures import Movement, memory
from sightword.training.model_recipe import StartedModel
from sightword.training.optimizer import learning_rate
from sightword.training.randomness import random_state_kept
from sightword.training.ranks import ALONE, World, join_world, rank_device
from sightword.training.recipe import Recipe
from sightword.training.setup import set_up
from sightword.training.snapshots import Snapshots
from sightword.training.stopping import Stop
from sightword.training.trackers import check_trackers

# Given the model as it stands, a row of evidence: {"metric": …, "value": …, …}.
Validate = Callable[[Embedder], dict[str, Any]]
# Given the contract of the finished model and the number of its parameters, its README.md.
Card = Callable[[Contract, int], str]
LOG_EVERY = 10


@dataclass(frozen=True)
class Status:
    """What a progress display can show. waiting: the share of time spent waiting for data. memory: in MiB, as the log
    has it."""

    step: int
    steps: int
    loss: float
    images_per_second: float
    waiting: float
    seconds_left: float
    validation: float | None
    memory: dict[str, float]


@dataclass(frozen=True)
class Result:
    """skipped: how many pairs were left out, at the start and on the way. minutes: of training, all sittings."""

    model: Path
    steps: int
    skipped: int
    minutes: float
    finished_before: bool = False

    def to_json(self) -> dict[str, Any]:
        return {"model": str(self.model), "steps": self.steps, "skipped": self.skipped, "minutes": self.minutes}


def train(
    recipe: Recipe,
    out: str | Path,
    pairs: Source,
    validate: Validate | None = None,
    device: str = "auto",
    progress: Callable[[Status], None] | None = None,
    provenance: dict[str, Any] | None = None,
    card: Card | None = None,
    announce: Callable[[str], None] | None = None,
) -> Result:
    """Train on `pairs` into the folder `out`. A folder with an unfinished run of this recipe is gone on with.

    The last weights become `out/model`, or the best by `validate` (higher is better), as `training.keep` says. With
    `training.wise`, it is the best mix of these and the start's.
    provenance: what the model's contract is to say of its origin; the run adds what it did. card: writes its README.md.
    announce: told what a step will take of the memory, before the first, and how much of long texts is cut. Started by
    torchrun, every process of it is a rank of one run: each takes its rows of the batches, and the first writes.
    Raises RequestError where the folder is another run's, or another process works on it; StoppedError where the system
    asked for an end (SIGTERM), with all that was done saved; SightwordError where a step would spoil the weights.
    """
    if recipe.training.wise and validate is None:
        raise RequestError("training.wise is chosen on held-out pairs, and none were given")
    out = Path(out)
    where = find_device(rank_device(device))
    with join_world(where) as world:
        changed = world.at_first(lambda: check_folder(out, recipe))
        if world.at_first((out / MODEL).is_dir):
            end = next((event for event in read_log(out / LOG) if event["event"] == "end"), {})
            skipped, minutes = end.get("skipped", 0), end.get("minutes", 0.0)
            return Result(out / MODEL, recipe.training.steps, skipped, minutes, finished_before=True)
        check_trackers(recipe.training.trackers)
        stop = Stop()
        with stop.listening(), _place(out, world) as place:
            run = _Run(recipe, out, place, pairs, where, changed, world)
            try:
                if announce and world.first:
                    announce(str(run.setup.budget))
                    if run.setup.cut and run.setup.cut.cut:
                        announce(run.setup.cut.words)
                run.go(validate, progress if world.first else None, stop)
                return run.finish(validate, provenance or {}, card)
            finally:
                run.close()


@contextmanager
def _place(out: Path, world: World) -> Generator[Path, None, None]:
    """Where a rank writes: the first into the run's folder, and the others where it is thrown away."""
    if world.first:
        with held(out):
            yield out
    else:
        with TemporaryDirectory(prefix="sightword-rank-") as folder:
            yield Path(folder)


class _Run:
    """A run under way, at some step: what was set up, its journal, its snapshots."""

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        place: Path,
        pairs: Source,
        device: torch.device,
        changed: dict[str, tuple[Any, Any]],
        world: World,
    ) -> None:
        """out: the run's folder, which all ranks read. place: where this one writes."""
        self.recipe, self.out, self.pairs, self.device, self.world = recipe, place, pairs, device, world
        training = recipe.training
        self.snapshots = Snapshots(out / SNAPSHOTS, training.snapshots)
        state, unreadable = self.snapshots.newest(world)
        if state is not None and state["pairs"] != len(pairs):
            raise RequestError(
                f"{out}: was begun with {state['pairs']:,} pairs, and now there are {len(pairs):,}: the order of the "
                "samples would be another. Bring the data back as they were, or choose another --out"
            )
        self.start = self.saved = state["step"] if state else 0
        if training.parallel == "fsdp" and not all(world.join([(out / LOCK).exists()])):
            raise RequestError(
                f"{out}: not all ranks find it, and each writes its part of a snapshot there: with "
                "training.parallel = 'fsdp' it must be on a disk that all share"
            )
        weights, origin = (state["model"], state["origin"]) if state else (None, None)
        self.setup = set_up(recipe, pairs, device, weights, origin, world)
        if state is not None and state["order"] != self.setup.loader.order_fingerprint(0):
            raise RequestError(
                f"{out}: was begun with other pairs, or with the same in another order (shards that were moved between "
                "places count as others): bring the data back as they were, or choose another --out"
            )
        self.model, self.built = self.setup.model, self.setup.built
        if not (place / RECIPE).exists():
            write_recipe(place, recipe)
        self.setup.look(place)
        self.setup.teach(place)
        self.best = state["best"] if state else -1.0
        self.clock = Clock(self.start, training.batch_size, state["seconds"] if state else 0.0)
        self.journal = Journal(place, recipe, pairs, self.setup, self.start, changed)
        self.guard = Guard(training, self.setup, place, self.journal.log)
        if state:
            self.guard.restore(state["guard"])
        for found in unreadable:
            self.journal.write("unreadable", self.start, file=found.file, reason=found.reason)
            _warn(f"{out / SNAPSHOTS / found.file}: {found.reason}; the run goes on from step {self.start}")
        if changed:
            write_recipe(place, recipe)
        if state:  # the last of all: nothing after it may draw random numbers
            self.setup.restore(state)

    def go(self, validate: Validate | None, progress: Callable[[Status], None] | None, stop: Stop) -> None:
        """All steps that are left."""
        training, clock = self.recipe.training, self.clock
        validation: float | None = None
        if validate is not None and self.start == 0 and isinstance(self.recipe.model, StartedModel):
            validation = self._validated(validate, 0)  # what there is to gain, and to lose
        batches = self.setup.loader.batches(self.start)
        clock.restart(self.start)
        try:
            with stop.at_steps():
                for step in range(self.start, training.steps):
                    with clock.waiting():
                        batch = next(batches)
                    done = step + 1
                    self.journal.order(done)
                    over = self.world.first and clock.snapshot_is_late(training.snapshot_minutes)
                    missing, asked, late = self.world.total(len(batch.skipped), stop.asked, over)
                    self.journal.skip(self.world.join(batch.skipped) if missing else (), done)
                    figures = self._step(self.setup.views(batch, step), step)
                    if done % LOG_EVERY == 0 or done == training.steps:
                        self._report(done, figures, validation, progress)
                    if validate is not None and (done % training.every == 0 or done == training.steps):
                        validation = self._validated(validate, done)
                        clock.restart(done)
                    # Several ranks must agree, and have done so before the step; one looks again.
                    asked = asked or (self.world.size == 1 and stop.asked)
                    if asked or late or self._snapshot_is_due(done):
                        self._snapshot(done)
                        clock.restart(done)
                    if asked:
                        raise StoppedError(
                            f"{self.out}: asked to end (SIGTERM) after step {done} of {training.steps}; the snapshot "
                            f"of step {self.saved} is there, and the same command goes on"
                        )
        finally:
            batches.close()

    def finish(self, validate: Validate | None, provenance: dict[str, Any], card: Card | None) -> Result:
        """Write the finished model. All ranks call it."""
        weights = self.setup.weights()
        return self.world.at_first(lambda: self._finish(weights, validate, provenance, card))

    def _finish(
        self, weights: dict[str, Tensor], validate: Validate | None, provenance: dict[str, Any], card: Card | None
    ) -> Result:
        steps, minutes = self.recipe.training.steps, self.clock.total() / 60
        chosen = self.snapshots.best() if self.recipe.training.keep == "best" else None
        if chosen:
            weights = chosen["weights"]
        told: dict[str, Any] = {}
        if validate and self.recipe.training.wise:
            weights, choice = self._interpolated(weights, validate)
            told["wise"] = choice.to_json()
            self.journal.write("wise", steps, **told["wise"])
        model = self.setup.finished(weights)
        record: dict[str, Any] = {
            "steps": steps,
            "minutes": round(minutes, 2),
            "sittings": self.journal.sittings,
            "device": str(self.device),
            "weights_of_step": chosen["step"] if chosen else steps,
            "skipped": len(self.journal.skipped),
            "validations": [
                {"step": event["step"], **event["row"]}
                for event in read_log(self.out / LOG)
                if event["event"] == "validation"
            ],
        }
        contract = self.built.saying(**provenance, **told, training=record).contract
        # Before the model: a run that is killed in between ends again, and one whose model is there has its end logged.
        self.journal.write("end", steps, minutes=minutes, skipped=len(self.journal.skipped))
        self.journal.log.sync()
        readme = card(contract, sum(p.numel() for p in model.parameters())) if card else None
        save_checkpoint(self.out / MODEL, model, contract, self.built.tokenizer, readme)
        return Result(self.out / MODEL, steps, len(self.journal.skipped), minutes)

    def close(self) -> None:
        self.journal.close()

    def _step(self, batch: Batch, step: int) -> dict[str, float]:
        """Take one step, counted from 0, unless it would spoil the weights; gives its figures."""
        training, stepper, done = self.recipe.training, self.setup.stepper, step + 1
        rate = learning_rate(training, step)
        self.guard.before()
        figures = stepper.gradients(batch, rate)
        logged = done % LOG_EVERY == 0 or done == training.steps
        movement = Movement(stepper.parameters) if logged else None
        if stepper.rows and self.guard.allows(done, batch, figures):
            stepper.update(rate)
        if self.setup.average:
            self.setup.average.update(self.model)
        return figures | (movement.norms() if movement else {})

    def _report(
        self, done: int, figures: dict[str, float], validation: float | None, progress: Callable[[Status], None] | None
    ) -> None:
        training = self.recipe.training
        rate, waiting = self.clock.rates(done)
        used = memory(self.device)
        self.journal.tell("step", done, images_per_s=round(rate, 1), waiting=round(waiting, 4), **figures, **used)
        if progress:
            left = (training.steps - done) * training.batch_size / max(rate, 1e-9)
            progress(Status(done, training.steps, figures["loss"], rate, waiting, left, validation, used))

    def _validated(self, validate: Validate, step: int) -> float:
        weights = self.setup.weights()
        return self.world.at_first(lambda: self._validate(weights, validate, step))

    def _validate(self, weights: dict[str, Tensor], validate: Validate, step: int) -> float:
        # A copy: the average stands in for the weights, and the model in training stays as it is.
        with random_state_kept(self.device):
            row = validate(self._embedder(weights))
        self.journal.tell("validation", step, row=row)
        value = score_of(row)
        if value > self.best:
            best = {"weights": weights, "step": step, "value": value}
            if self._saved(step, "best weights", lambda: self.snapshots.save_best(best)):
                self.best = value
        return value

    def _interpolated(self, weights: dict[str, Tensor], validate: Validate) -> tuple[dict[str, Tensor], Choice]:
        begun_as, tuned = self.setup.begun_as, {name: tensor.cpu() for name, tensor in weights.items()}
        alphas = self.recipe.training.wise
        choice = choose_alpha(begun_as, tuned, alphas, lambda mixed: validate(self._embedder(mixed)))
        return mix(begun_as, tuned, choice.alpha), choice

    def _embedder(self, weights: dict[str, Tensor]) -> Embedder:
        built, device = self.built, str(self.device)
        model = self.setup.finished(weights)
        return Embedder(model, built.contract, built.tokenizer, device=device, decode="exact")

    def _snapshot_is_due(self, done: int) -> bool:
        training = self.recipe.training
        if done == training.steps:
            return True
        if not training.snapshot_every and not training.snapshot_minutes:
            return done % training.every == 0
        return bool(training.snapshot_every and done % training.snapshot_every == 0)

    def _snapshot(self, step: int) -> None:
        """By the first rank, or by all of them where each holds a part."""
        sharded = self.setup.stepper.sharded
        if not (sharded or self.world.first):
            return
        self.journal.log.sync()
        state = self.setup.state() | {
            "guard": self.guard.state(),
            "pairs": len(self.pairs),
            "order": self.setup.loader.order_fingerprint(0),
            "best": self.best,
            "seconds": self.clock.total(),
        }
        if self._saved(step, "snapshot", lambda: self.snapshots.save(step, state, self.world if sharded else ALONE)):
            self.saved = step
        self.clock.snapshot()

    def _saved(self, step: int, what: str, save: Callable[[], None]) -> bool:
        """Whether there was room. Without it, what was saved before stays, and the run goes on if it is to."""
        try:
            save()
        except FullDiskError as failure:
            self.journal.write("full_disk", step, what=what, reason=str(failure), newest=self.saved)
            if self.recipe.training.on_full_disk == "stop":
                raise
            _warn(f"step {step}: no {what}: {failure}; the snapshot of step {self.saved} stays, and the run goes on")
            return False
        return True


def _warn(message: str) -> None:
    warnings.warn(message, SightwordWarning, stacklevel=2)

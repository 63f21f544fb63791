"""The trainer: one loop for every recipe.

A run is a folder: `recipe.toml` (resolved), `log.jsonl`, `snapshots/` (last and best), and in the end `model/`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sightword.checkpoints.native import save_checkpoint
from sightword.data.augment import Augment
from sightword.data.loader import Loader
from sightword.data.pairs import Pair, PairList, Skipped
from sightword.embedding.embedder import Embedder, find_device
from sightword.errors import RequestError, SightwordError
from sightword.towers.dual import DualEncoder
from sightword.training.build import build
from sightword.training.fit import fit_projection
from sightword.training.log import RunLog, read_log
from sightword.training.optimizer import Average, learning_rate, make_optimizer
from sightword.training.recipe import PretrainedImage, Recipe, differing_keys, read_recipe, recipe_text
from sightword.training.snapshots import BEST, LAST, load_snapshot, save_snapshot
from sightword.training.step import Stepper
from sightword.training.views import Views

# Given the model as it stands, a row of evidence: {"metric": …, "value": …, …}.
Validate = Callable[[Embedder], dict[str, Any]]
LOG_EVERY = 10


@dataclass(frozen=True)
class Status:
    """What a progress display can show. waiting: the share of time spent waiting for data."""

    step: int
    steps: int
    loss: float
    images_per_second: float
    waiting: float
    seconds_left: float
    validation: float | None


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
    pairs: PairList,
    validate: Validate | None = None,
    device: str = "auto",
    progress: Callable[[Status], None] | None = None,
    provenance: dict[str, Any] | None = None,
) -> Result:
    """Train on `pairs` into the folder `out`. A folder with an unfinished run of this recipe is gone on with.

    The last weights become `out/model`, or the best by `validate` (higher is better), as `training.keep` says; both
    stay in `out/snapshots`.
    """
    out = Path(out)
    _check_folder(out, recipe)
    if (out / "model").is_dir():
        end = next((event for event in read_log(out / "log.jsonl") if event["event"] == "end"), {})
        skipped, minutes = end.get("skipped", 0), end.get("minutes", 0.0)
        return Result(out / "model", recipe.training.steps, skipped, minutes, finished_before=True)
    run = _Run(recipe, out, pairs, find_device(device))
    try:
        run.go(validate, progress)
    finally:
        run.log.close()
    return run.finish(provenance or {})


class _Run:
    """A run under way: model, optimizer, data and log, at some step."""

    def __init__(self, recipe: Recipe, out: Path, pairs: PairList, device: torch.device) -> None:
        self.recipe, self.out, self.pairs, self.device = recipe, out, pairs, device
        training = recipe.training
        texts = _texts(pairs.pairs, recipe.data.templates, recipe.data.first_text < 1)
        self.built = build(recipe, texts)
        _make_folder(out, recipe)
        self.model = self.built.model.to(device)
        if recipe.model.image.kind != "vit":
            # Convolutions are faster so.
            self.model.image.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loader = Loader(
            source=pairs,
            tokenizer=self.built.tokenizer,
            spec=self.built.contract.image,
            augment=recipe.augment,
            batch_size=training.batch_size,
            seed=recipe.seed,
            templates=recipe.data.templates,
            first=recipe.data.first_text,
            workers=recipe.data.workers,
        )
        self.views = Views(recipe.model, training)
        self.optimizer = make_optimizer(self.model, recipe)
        self.start, self.best, seconds = 0, -1.0, 0.0
        state = load_snapshot(out / "snapshots", LAST)
        if state is not None:
            self.start, self.best, seconds = state["step"], state["best"], state["seconds"]
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        self.clock = _Clock(self.start, training.batch_size, seconds)
        self.stepper = Stepper(self.model, self.built.contract, self.optimizer, recipe, device)
        if self.stepper.kept:
            self.stepper.kept.learn(texts, self.built.tokenizer, device)
        if training.bank:
            self.stepper.hold_against(sorted({pair.name for pair in pairs.pairs}), self.built.tokenizer)
        if state is None and isinstance(recipe.model.image, PretrainedImage) and recipe.model.image.fit:
            # One look at every picture as it is, without augmentation.
            still = replace(self.loader, augment=Augment(), templates=("{}",), first=1.0)
            fit_projection(self.model, still, recipe.model.image.fit, device, self.stepper.encode_text)
        self.average = Average(self.model, training.ema) if training.ema else None
        if state is not None and self.average:
            self.average.state, self.average.steps = state["average"], self.start
        self.skipped = {skip.key for skip in pairs.skipped}
        self.log = RunLog(out / "log.jsonl", resume_at=self.start)

    def go(self, validate: Validate | None, progress: Callable[[Status], None] | None) -> None:
        """All steps that are left."""
        training, clock = self.recipe.training, self.clock
        self._log_start()
        clock.restart(self.start)
        batches = self.loader.batches(self.start)
        validation: float | None = None
        try:
            for step in range(self.start, training.steps):
                with clock.waiting():
                    batch = next(batches)
                self._note_skipped(batch.skipped, step + 1)
                figures = self.stepper.step(self.views(batch, step), learning_rate(training, step))
                if self.average:
                    self.average.update(self.model)
                done = step + 1
                if done % LOG_EVERY == 0 or done == training.steps:
                    rate, waiting = clock.rates(done)
                    self.log.write("step", step=done, images_per_s=round(rate, 1), waiting=round(waiting, 4), **figures)
                    if progress:
                        left = (training.steps - done) * training.batch_size / max(rate, 1e-9)
                        progress(Status(done, training.steps, figures["loss"], rate, waiting, left, validation))
                if done % training.every == 0 or done == training.steps:
                    validation = self._validate(validate, done)
                    self._snapshot(done)
                    clock.restart(done)
        finally:
            batches.close()

    def finish(self, provenance: dict[str, Any]) -> Result:
        """Write the finished model."""
        chosen = load_snapshot(self.out / "snapshots", BEST) if self.recipe.training.keep == "best" else None
        self.model.load_state_dict(chosen["weights"] if chosen else self._weights())
        steps, minutes = self.recipe.training.steps, self.clock.total() / 60
        contract = self.built.contract.model_copy(update={"provenance": provenance})
        save_checkpoint(self.out / "model", self.model, contract, self.built.tokenizer)
        log = RunLog(self.out / "log.jsonl", resume_at=steps)
        log.write("end", step=steps, minutes=minutes, skipped=len(self.skipped))
        log.close()
        return Result(self.out / "model", steps, len(self.skipped), minutes)

    def _log_start(self) -> None:
        self.log.write(
            "start",
            step=self.start,
            pairs=len(self.pairs),
            skipped=len(self.pairs.skipped),
            device=str(self.device),
            precision="bf16" if self.stepper.half else "fp32",
            threads=torch.get_num_threads(),
        )
        if self.start == 0:
            for skip in self.pairs.skipped:
                self.log.write("skipped", step=0, key=skip.key, reason=skip.reason)

    def _note_skipped(self, skips: Sequence[Skipped], step: int) -> None:
        for skip in skips:
            if skip.key not in self.skipped:
                self.skipped.add(skip.key)
                self.log.write("skipped", step=step, key=skip.key, reason=skip.reason)
        if len(self.skipped) - len(self.pairs.skipped) >= len(self.pairs):
            raise SightwordError("none of the training pictures can be read; log.jsonl lists why")

    def _validate(self, validate: Validate | None, step: int) -> float | None:
        if validate is None:
            return None
        # A copy: the average stands in for the weights, and the model in training stays as it is.
        copy = DualEncoder(self.built.contract.architecture)
        copy.load_state_dict(self._weights())
        built, device = self.built, str(self.device)
        row = validate(Embedder(copy, built.contract, built.tokenizer, device=device, decode="exact"))
        self.log.write("validation", step=step, row=row)
        value = float(row["value"])
        if value > self.best:
            self.best = value
            save_snapshot(self.out / "snapshots", BEST, {"weights": self._weights(), "step": step, "value": value})
        return value

    def _snapshot(self, step: int) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state if self.average else {},
            "step": step,
            "best": self.best,
            "seconds": self.clock.total(),
        }
        save_snapshot(self.out / "snapshots", LAST, state)

    def _weights(self) -> dict[str, Tensor]:
        return self.model.state_dict() | (self.average.state if self.average else {})


class _Clock:
    """Rates since the last look, and the seconds of all sittings."""

    def __init__(self, step: int, batch_size: int, seconds: float) -> None:
        self.before, self.batch_size = seconds, batch_size
        self.begun = self.last = time.perf_counter()
        self.last_step, self.waited = step, 0.0

    @contextmanager
    def waiting(self) -> Generator[None, None, None]:
        """Count what the block takes as time spent waiting for data."""
        begun = time.perf_counter()
        yield
        self.waited += time.perf_counter() - begun

    def rates(self, step: int) -> tuple[float, float]:
        now = time.perf_counter()
        span = now - self.last
        rate, waiting = (step - self.last_step) * self.batch_size / span, self.waited / span
        self.restart(step)
        return rate, waiting

    def restart(self, step: int) -> None:
        """Leave what was done between the steps out of the next rate."""
        self.last, self.last_step, self.waited = time.perf_counter(), step, 0.0

    def total(self) -> float:
        return self.before + time.perf_counter() - self.begun


def _check_folder(out: Path, recipe: Recipe) -> None:
    """A folder is free, or holds a run of this very recipe."""
    saved = out / "recipe.toml"
    if saved.exists():
        keys = differing_keys(read_recipe(saved), recipe)
        if keys:
            raise RequestError(
                f"{out}: holds a run of another recipe (it differs in {', '.join(keys[:5])}"
                f"{', …' if len(keys) > 5 else ''}): choose another --out, or remove the folder"
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RequestError(f"{out}: is there already and holds no run: choose another --out")


def _make_folder(out: Path, recipe: Recipe) -> None:
    try:
        (out / "snapshots").mkdir(parents=True, exist_ok=True)
        if not (out / "recipe.toml").exists():
            (out / "recipe.toml").write_text(recipe_text(recipe), encoding="utf-8")
    except OSError as failure:
        raise RequestError(f"{out}: the run's folder could not be made ({failure.strerror})") from None


def _texts(pairs: Sequence[Pair], templates: Sequence[str], all_texts: bool) -> list[str]:
    return sorted(
        {
            template.replace("{}", text)
            for pair in pairs
            for text in (pair.texts if all_texts else pair.texts[:1])
            for template in templates
        }
    )

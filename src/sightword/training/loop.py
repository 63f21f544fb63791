"""The trainer: one loop for every recipe.

A run is a folder: `recipe.toml` (resolved), `log.jsonl`, `snapshots/` (last and best), and in the end `model/`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sightword.checkpoints.native import save_checkpoint
from sightword.data.loader import Loader
from sightword.data.pairs import Pair, PairList
from sightword.embedding.embedder import Embedder, find_device
from sightword.errors import RequestError, SightwordError
from sightword.towers.dual import DualEncoder
from sightword.training.build import Built, build
from sightword.training.log import RunLog, read_log
from sightword.training.optimizer import Average, learning_rate, make_optimizer
from sightword.training.recipe import Recipe, differing_keys, read_recipe, write_recipe
from sightword.training.snapshots import BEST, LAST, load_snapshot, save_snapshot
from sightword.training.step import Stepper

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
    run = _Run(recipe, Path(out), pairs, device)
    if run.finished:
        end = next((event for event in read_log(run.out / "log.jsonl") if event["event"] == "end"), {})
        skipped, minutes = end.get("skipped", 0), end.get("minutes", 0.0)
        return Result(run.out / "model", recipe.training.steps, skipped, minutes, finished_before=True)
    return run.go(validate, progress, provenance or {})


class _Run:
    def __init__(self, recipe: Recipe, out: Path, pairs: PairList, device: str) -> None:
        self.recipe, self.out, self.pairs = recipe, out, pairs
        self.device = find_device(device)
        _check_folder(out, recipe)
        self.finished = (out / "model").is_dir()

    def go(
        self, validate: Validate | None, progress: Callable[[Status], None] | None, provenance: dict[str, Any]
    ) -> Result:
        recipe, training = self.recipe, self.recipe.training
        built = build(recipe, _texts(self.pairs.pairs, recipe.data.templates, recipe.data.first_text < 1))
        _make_folder(self.out, recipe)
        model = built.model.to(self.device)
        if recipe.model.image.kind != "vit":
            # Convolutions are faster so.
            model.image.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = make_optimizer(model, recipe)
        average = Average(model, training.ema) if training.ema else None
        stepper = Stepper(model, built.contract, optimizer, recipe, self.device)
        start, best, seconds = 0, -1.0, 0.0
        state = load_snapshot(self.out / "snapshots", LAST)
        if state is not None:
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            if average:
                average.state, average.steps = state["average"], state["step"]
            start, best, seconds = state["step"], state["best"], state["seconds"]
        log = RunLog(self.out / "log.jsonl", resume_at=start)
        log.write(
            "start",
            step=start,
            pairs=len(self.pairs),
            skipped=len(self.pairs.skipped),
            device=str(self.device),
            precision="bf16" if stepper.half else "fp32",
            threads=torch.get_num_threads(),
        )
        if start == 0:
            for skip in self.pairs.skipped:
                log.write("skipped", step=0, key=skip.key, reason=skip.reason)
        loader = Loader(
            source=self.pairs,
            tokenizer=built.tokenizer,
            spec=built.contract.image,
            augment=recipe.augment,
            batch_size=training.batch_size,
            seed=recipe.seed,
            templates=recipe.data.templates,
            first=recipe.data.first_text,
            workers=recipe.data.workers,
        )
        skipped = {skip.key for skip in self.pairs.skipped}
        batches = loader.batches(start)
        clock = _Clock(start, training.batch_size, seconds)
        validation: float | None = None
        try:
            for step in range(start, training.steps):
                waited = time.perf_counter()
                batch = next(batches)
                clock.waited += time.perf_counter() - waited
                for skip in batch.skipped:
                    if skip.key not in skipped:
                        skipped.add(skip.key)
                        log.write("skipped", step=step + 1, key=skip.key, reason=skip.reason)
                if len(skipped) - len(self.pairs.skipped) >= len(self.pairs):
                    raise SightwordError("none of the training pictures can be read; log.jsonl lists why")
                figures = stepper.step(batch, learning_rate(training, step))
                if average:
                    average.update(model)
                done = step + 1
                if done % LOG_EVERY == 0 or done == training.steps:
                    rate, waiting = clock.rates(done)
                    log.write("step", step=done, images_per_s=round(rate, 1), waiting=round(waiting, 4), **figures)
                    if progress:
                        left = (training.steps - done) * training.batch_size / max(rate, 1e-9)
                        progress(Status(done, training.steps, figures["loss"], rate, waiting, left, validation))
                if done % training.every == 0 or done == training.steps:
                    if validate:
                        row = validate(self._embedder(built, average))
                        validation = float(row["value"])
                        log.write("validation", step=done, row=row)
                    snapshot: dict[str, Any] = {
                        "model": model.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "average": average.state if average else {},
                        "step": done,
                        "best": max(best, validation if validation is not None else -1.0),
                        "seconds": clock.total(),
                    }
                    if validation is not None and validation > best:
                        best = validation
                        best_state: dict[str, Any] = {
                            "weights": self._weights(model, average),
                            "step": done,
                            "value": best,
                        }
                        save_snapshot(self.out / "snapshots", BEST, best_state)
                    save_snapshot(self.out / "snapshots", LAST, snapshot)
                    clock.restart(done)
        finally:
            batches.close()
            log.close()
        weights = self._weights(model, average)
        chosen = load_snapshot(self.out / "snapshots", BEST) if training.keep == "best" else None
        model.load_state_dict(chosen["weights"] if chosen else weights)
        contract = built.contract.model_copy(update={"provenance": provenance})
        minutes = clock.total() / 60
        log = RunLog(self.out / "log.jsonl", resume_at=training.steps)
        log.write("end", step=training.steps, minutes=minutes, skipped=len(skipped))
        log.close()
        save_checkpoint(self.out / "model", model, contract, built.tokenizer)
        return Result(self.out / "model", training.steps, len(skipped), minutes)

    @staticmethod
    def _weights(model: DualEncoder, average: Average | None) -> dict[str, Tensor]:
        return model.state_dict() | (average.state if average else {})

    def _embedder(self, built: Built, average: Average | None) -> Embedder:
        """The model as it would be saved now, beside the one in training."""
        copy = DualEncoder(built.contract.architecture)
        copy.load_state_dict(self._weights(built.model, average))
        return Embedder(copy, built.contract, built.tokenizer, device=str(self.device))


class _Clock:
    """Rates since the last look, and the seconds of all sittings."""

    def __init__(self, step: int, batch_size: int, seconds: float) -> None:
        self.before, self.batch_size = seconds, batch_size
        self.begun = self.last = time.perf_counter()
        self.last_step, self.waited = step, 0.0

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
            write_recipe(recipe, out / "recipe.toml")
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

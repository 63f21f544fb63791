"""A run's folder: whose it is, which recipe it holds, and whether that may go on as asked.

recipe.toml  log.jsonl  snapshots/  model/ (in the end)  bad-step-*.pt (where a step was refused)
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sightword.config import differences
from sightword.errors import RequestError
from sightword.files import LOCK, make_folder, only_one, remove_remains, whole_file
from sightword.training.recipe import MAY_CHANGE, Recipe, read_recipe, recipe_text

RECIPE, LOG, SNAPSHOTS, MODEL = "recipe.toml", "log.jsonl", "snapshots", "model"
# What a killed run leaves beside these: temporary files and folders of what was about to appear.
_REMAINS = (f".{RECIPE}.", f".{LOG}.", f".{MODEL}.", ".bad-step-")
_SHOWN = 5  # keys that differ


def check_folder(out: Path, recipe: Recipe) -> dict[str, tuple[Any, Any]]:
    """What differs from the recipe that the folder holds, of what may differ: by key, the value before and now.

    Raises RequestError for a folder of something else, and for a run whose order of samples or model would be another.
    """
    if not (out / RECIPE).exists():
        if out.exists() and (not out.is_dir() or any(not path.name.startswith(".") for path in out.iterdir())):
            raise RequestError(f"{out}: is there already and holds no run: choose another --out")
        return {}
    found = differences(read_recipe(out / RECIPE), recipe)
    refused = [f"{key} ({was!r}, now {now!r})" for key, (was, now) in found.items() if key not in MAY_CHANGE]
    if refused:
        raise RequestError(
            f"{out}: holds a run of another recipe. It differs in {', '.join(refused[:_SHOWN])}"
            f"{', …' if len(refused) > _SHOWN else ''}, which changes the order of the samples or the model: choose "
            "another --out, or remove the folder"
        )
    return found


@contextmanager
def held(out: Path) -> Generator[None, None, None]:
    """`out`, made where it is not there yet, for one run alone, and without what a killed one left half-written. A
    folder in which nothing was begun is not left behind."""
    make_folder(out)
    with only_one(out, "run"):
        remove_remains(out, *_REMAINS)
        if (out / SNAPSHOTS).is_dir():
            remove_remains(out / SNAPSHOTS, ".step-", ".best.pt.")
        try:
            yield
        finally:
            if not (out / RECIPE).exists():
                remove_remains(out, LOCK)
                with suppress(OSError):
                    out.rmdir()


def write_recipe(out: Path, recipe: Recipe) -> None:
    with whole_file(out / RECIPE) as temporary:
        temporary.write_text(recipe_text(recipe), encoding="utf-8")

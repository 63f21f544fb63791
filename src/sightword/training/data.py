"""The pairs of a recipe: what trains, and what is held out to watch the run."""

from __future__ import annotations

from dataclasses import dataclass

from sightword.data.emoji import EmojiBenchmark, read_emoji
from sightword.data.folder import read_pairs
from sightword.data.pairs import Pair, PairList, hold_out
from sightword.errors import RequestError
from sightword.training.recipe import DataRecipe


@dataclass(frozen=True)
class TrainingData:
    """names: what a held-out picture is matched against. benchmark: where the source is one."""

    train: PairList
    validation: tuple[Pair, ...]
    names: tuple[str, ...]
    benchmark: EmojiBenchmark | None = None


def read_data(recipe: DataRecipe) -> TrainingData:
    """Raises RequestError where nothing is left to train on."""
    if recipe.source == "emoji":
        benchmark = read_emoji()
        rest, held = hold_out(benchmark.train.pairs, recipe.validation)
        extra = list(benchmark.tones.pairs) if recipe.tones else []
        unseen = set(benchmark.unseen)
        seen = tuple(name for name in benchmark.names if name not in unseen)
        return TrainingData(PairList(rest + extra), tuple(held), seen, benchmark)
    assert recipe.path is not None
    found = read_pairs(recipe.path)
    rest, held = hold_out(found.pairs, recipe.validation)
    if not rest:
        raise RequestError(f"{recipe.path}: data.validation = {recipe.validation} leaves no pair to train on")
    names = tuple(sorted({pair.name for pair in held}))
    return TrainingData(PairList(rest, found.skipped), tuple(held), names)

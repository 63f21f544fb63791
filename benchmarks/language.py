"""Negation, long captions and composed queries on scenes: the tables of docs/benchmarks.md, before and after.

    python benchmarks/language.py runs/language --seeds 0 1 2

Trains, once a seed and where OUT does not hold them yet, quickstart -> scenes-clip (the base), and from the base
long-text, composed -> composed-rtd, and scenes-clip-192 (larger pictures) -> negation, as recipes/ has them: a finished
run is only measured, and one that was cut goes on. Then `sightword evaluate` of all of them on scenes of combinations
that no training shows (suites scenes_language and scenes_composed), and on the emoji of vendors that none shows
(emoji_vendors: classification).

--parts: some of negation, long, composed. --set KEY=VALUE: for every training but the quickstart's. --have RUN=MODEL:
one that is there already, for all seeds: `--have base=runs/scenes-clip/model` (they then have their start in common).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import sightword
from sightword.evaluation.compare import compare_all
from sightword.evaluation.experiment import run_training
from sightword.evaluation.records import Record
from sightword.training.recipe import read_recipe

RECIPES = Path(__file__).parent.parent / "recipes"
# What is trained, by which recipe, from what; and against what it is measured.
RUNS = {
    "start": ("quickstart.toml", None, None),
    "base": ("scenes-clip.toml", "start", None),
    "large": ("scenes-clip-192.toml", "base", "base"),
    "negation": ("negation.toml", "large", "large"),
    "long": ("long-text.toml", "base", "base"),
    "words": ("composed.toml", "base", "base"),
    "composed": ("composed-rtd.toml", "words", "base"),
}
PARTS = {"negation": ("large", "negation"), "long": ("long",), "composed": ("words", "composed")}
SUITES = {
    "base": ("scenes_language", "scenes_composed", "emoji_vendors", "emoji_negation"),
    "large": ("scenes_language", "emoji_vendors", "emoji_negation"),
    "negation": ("scenes_language", "emoji_vendors", "emoji_negation"),
    "long": ("scenes_language", "emoji_vendors"),
    "words": ("scenes_composed",),
    "composed": ("scenes_composed",),
}


class Figure(NamedTuple):
    """One line of the table: a row of a record, found by data set, split (or kind), prompt and metric."""

    title: str
    data: str
    metric: str
    split: str | None = None
    prompt: str | None = None


LANGUAGE = (
    Figure("presence: true caption, or its denied twin", "scenes_presence", "top1", prompt="bare"),
    Figure("absence: true denial, or what affirms it", "scenes_absence", "top1", prompt="bare"),
    *(
        Figure(f"four options, {kind} is true", "scenes_choice", "top1", kind, "bare")
        for kind in ("affirmation", "negation", "hybrid")
    ),
    *(
        Figure(f"pictures by captions, {kind}, R@5", "scenes_negated_retrieval", "image_retrieval_recall@5", kind)
        for kind in ("plain", "negation last", "negation first")
    ),
    Figure("pictures by short captions, R@1", "scenes_short", "image_retrieval_recall@1"),
    Figure("pictures by long captions, R@1", "scenes_long", "image_retrieval_recall@1"),
    Figure("emoji of unseen vendors, top 1", "emoji_vendors", "top1", prompt="bare"),
    *(
        Figure(f"emoji of unseen vendors, {what}", "emoji_negation", "top1", kind, "bare")
        for kind, what in (
            ("affirmation", "what it is"),
            ("negation", "what it is not"),
            ("both", "“a cat, not a dog”"),
        )
    ),
)
COMPOSED = tuple(
    Figure(f"composed queries, {query}, R@5", "scenes_composed", "recall@5", prompt=query)
    for query in ("picture", "text", "sum", "composed")
)


def train_all(asked: argparse.Namespace, seed: int) -> dict[str, Path]:
    """Folders of models by the names of their runs, and what they began as before them."""
    models = {name: Path(model) for name, _, model in (told.partition("=") for told in asked.have)}

    def trained(name: str) -> Path:
        if name not in models:
            recipe, start, _ = RUNS[name]
            changes = [f"seed={seed}"]
            if start is not None:
                changes += [f"model.start={trained(start)}", *asked.set]
            print(f"{name}, seed {seed}", flush=True)
            result = run_training(read_recipe(RECIPES / recipe, changes), asked.out / f"{name}-{seed}").result
            print(f"  {result.minutes:.1f} minutes", flush=True)
            models[name] = result.model
        return models[name]

    for part in asked.parts:
        for name in PARTS[part]:
            trained(name)
    return models


def found(records: dict[str, Record], figure: Figure) -> dict[str, Any] | None:
    """None of data that the run is not measured on, and of composed queries where no words are made."""
    record = records.get(figure.data)
    for row in record.rows if record else ():
        if row.metric == figure.metric and figure.prompt in (None, row.prompt) and figure.split in (None, row.split):
            return row.to_json()
    if record and figure.prompt != "composed":
        raise LookupError(f"{figure}: no such row among those of {record.model['name']}")
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--have", nargs="+", default=[], metavar="RUN=MODEL")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)

    rows: list[dict[str, Any]] = []
    for seed in asked.seeds:
        models = train_all(asked, seed)
        for name in (name for name in models if name in SUITES):
            model = sightword.load(models[name])
            before = RUNS[name][2]
            compared: list[Path | sightword.Model] = [models[before], model] if before in models else [model]
            evaluation = sightword.evaluate(compared, SUITES[name], out=asked.out / "results")
            own = {r.data["name"]: r for r in evaluation.records if r.model["fingerprint"] == model.fingerprint}
            for figure in (*LANGUAGE, *COMPOSED):
                row = found(own, figure)
                if row is not None:
                    rows.append({"run": name, "seed": seed, "figure": figure.title, **row})
            for one in compare_all(evaluation.records):
                rows.append({"run": name, "seed": seed, "compared": one.test, **one.to_json()})
        with (asked.out / "rows.json").open("w") as file:
            json.dump(rows, file, indent=1)
    show(rows, asked.seeds)


def show(rows: list[dict[str, Any]], seeds: list[int]) -> None:
    """Each figure of each run: the mean over the seeds, and each seed with its 95 % interval over pictures."""
    for figure in (*LANGUAGE, *COMPOSED):
        print(f"\n{figure.title}")
        for name in RUNS:
            some = [row for row in rows if row.get("figure") == figure.title and row["run"] == name]
            if some:
                each = ", ".join(f"{100 * r['value']:.1f} ({100 * r['low']:.1f}-{100 * r['high']:.1f})" for r in some)
                mean = 100 * float(np.mean([row["value"] for row in some]))
                print(f"  {name:10} {mean:5.1f}   {each}   n = {some[0]['n']}")
    print(f"\nagainst what they began as, on the same pictures (seeds {seeds})")
    for row in rows:
        if "compared" in row:
            told = f"{100 * row['difference']:+.1f} ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"
            print(f"  {row['run']:10} seed {row['seed']}  {row['compared']}, {row['metric']}: {told}")


if __name__ == "__main__":
    main()

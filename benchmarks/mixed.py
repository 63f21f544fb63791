"""Labels and captions in one run: learned prefixes, batches of one source each, UniCL's targets; with and without each.

    python benchmarks/mixed.py OUT [--seeds 0 1 2] [--steps 1200] [--runs all "no prefixes" ...]
        [--pictures 4000 12000] [--set KEY=VALUE]

Makes the shards of recipes/mixed.toml where OUT does not hold them yet (single things with their names in one vendor's
style, captions of scenes in those of five), and trains the recipe as it is and with one thing or all left out, once a
seed: a finished run is only measured, and one that was cut goes on; what is measured is kept. Measured is top-1 of the
emoji of unseen vendors (seen names) and of unseen names, with the plain prompt, read as captions and as labels; and
retrieval of pictures by short captions, of scenes whose combinations no training shows. Nothing is chosen on these.
Each value has its 95 % interval over pictures; `against` is the mean difference to the whole recipe over the seeds,
with a 95 % interval (Student's t) from two seeds on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

import sightword
from sightword.data.scenes import Scenes, emoji_sprites, write_scenes
from sightword.evaluation.experiment import run_training
from sightword.training.recipe import read_recipe

RECIPE = Path(__file__).parent.parent / "recipes" / "mixed.toml"
RUNS: dict[str, tuple[str, ...]] = {
    "all": (),
    "no prefixes": ("model.text.prefixes=false",),
    "mixed batches": ("data.apart=false",),
    "mixed batches, no prefixes": ("data.apart=false", "model.text.prefixes=false"),
    "CLIP's targets": ("training.positives=pairs",),
    "plain CLIP": ("data.apart=false", "model.text.prefixes=false", "training.positives=pairs"),
}
# Title, task, metric.
FIGURES = (
    ("unseen vendors, top 1", "emoji_vendors", "top1"),
    ("unseen names, top 1", "emoji_names", "top1"),
    ("pictures by captions, R@1", "scenes_short", "image_retrieval_recall@1"),
)
READ: tuple[Any, ...] = ("captions", "labels")


def shards(out: Path, labels: int, captions: int) -> list[str]:
    """The sources of the recipe, as its first lines make them; what changes of it."""
    sprites = emoji_sprites()
    made = {
        "labels": Scenes(sprites.in_styles(["Goog"]), "train", labels, 64, 0, (1, 1)),
        "captions": Scenes(sprites, "train", captions, 64, 1, (1, 3)),
    }
    for name, scenes in made.items():
        if not (out / name).is_dir():
            print(f"drawing {name}", flush=True)
            write_scenes(scenes, out / name)
    page = read_recipe(RECIPE).model_dump(mode="json")["data"]["sources"]
    told = []
    for source, name in zip(page, made, strict=True):
        kept = {key: value for key, value in source.items() if value is not None} | {"path": str(out / name)}
        told.append("{" + ", ".join(f"{key} = {json.dumps(value)}" for key, value in kept.items()) + "}")
    return [f"data.sources=[{', '.join(told)}]"]


def measure(model: Path, results: Path) -> list[dict[str, Any]]:
    """The figures of a model, read both ways where it can be. results: the folder of all records, which are kept."""
    rows: list[dict[str, Any]] = []
    plain = sightword.load(model)
    for read in READ if plain.contract.text.prefixes else READ[:1]:
        reader = sightword.load(model, texts=read) if plain.contract.text.prefixes else plain
        evaluation = sightword.evaluate([reader], [task for _, task, _ in FIGURES], out=results)
        for title, task, metric in FIGURES:
            row = next(
                row
                for record in evaluation.records
                if record.data["name"] == task
                for row in record.rows
                if row.metric == metric and (task == "scenes_short" or row.prompt == "plain")
            )
            rows.append({"read": read, "figure": title, **row.to_json()})
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    for title, _, _ in FIGURES:
        print(f"\n{title}")
        whole = values(rows, title, "all", "captions")
        for name in RUNS:
            for read in READ:
                some = [r for r in rows if (r["figure"], r["run"], r["read"]) == (title, name, read)]
                if not some:
                    continue
                each = ", ".join(f"{100 * r['value']:.1f} ({100 * r['low']:.1f}-{100 * r['high']:.1f})" for r in some)
                mine = values(rows, title, name, read)
                mean = 100 * float(np.mean([*mine.values()]))
                told = against([100 * (mine[seed] - whole[seed]) for seed in mine if seed in whole])
                own = "" if (name, read) == ("all", "captions") else told
                print(f"  {name:27} as {read:8} {mean:5.1f}   {each}   {own}")


def values(rows: list[dict[str, Any]], title: str, name: str, read: str) -> dict[int, float]:
    return {r["seed"]: r["value"] for r in rows if (r["figure"], r["run"], r["read"]) == (title, name, read)}


def against(differences: list[float]) -> str:
    if not differences:
        return ""
    mean, n = float(np.mean(differences)), len(differences)
    if n < 2:
        return f"against {mean:+.1f}"
    half = float(stats.t.ppf(0.975, n - 1) * np.std(differences, ddof=1) / n**0.5)
    return f"against {mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--runs", nargs="+", choices=list(RUNS), default=list(RUNS))
    parser.add_argument("--pictures", type=int, nargs=2, default=[4000, 12_000], metavar=("LABELS", "CAPTIONS"))
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    common = [
        *shards(asked.out, *asked.pictures),
        *asked.set,
        *([f"training.steps={asked.steps}"] if asked.steps else []),
    ]
    rows: list[dict[str, Any]] = []
    for seed in asked.seeds:
        for name in asked.runs:
            out = asked.out / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            print(f"{name}, seed {seed}", flush=True)
            result = run_training(read_recipe(RECIPE, [f"seed={seed}", *common, *RUNS[name]]), out).result
            print(f"  {result.minutes:.1f} minutes", flush=True)
            rows += [{"run": name, "seed": seed, **row} for row in measure(result.model, asked.out / "results")]
    show(rows)


if __name__ == "__main__":
    main()

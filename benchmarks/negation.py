"""The evidence for Omni-NegCLIP: losses, layers and weights one by one, against those of NegCLIP and CoN-CLIP.

    python benchmarks/language.py runs/language --parts negation        # a start for each seed: large-0, -1, -2
    python -m benchmarks.negation runs/language/large-{0,1,2}/model runs/negation-evidence

From each START it trains recipes/negation.toml in VARIANTS, and measures all of them on the questions of the suite
scenes_language (held-out combinations; nothing was chosen on them) and on the recipe's retention set. What OUT holds
already is kept: a finished run is only measured, one that was cut goes on, a record is read. `--only full con-clip` are
some of the variants, or some of their groups: losses, layers, terms. `--set key=value` and `--steps` are passed on to
every training (change them, and OUT is another folder).

It prints, and writes into OUT: negation.md (tables: each percentage with its benchmark, absolute points with an
interval, the relative gain in brackets), rows.json, figures as PNG and SVG (ablations, and the task `layers` of the
start and of what it became, first seed), leakage.json (what the tests share with the training: captions, pictures).
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import sightword
from benchmarks import negation_evidence as evidence
from benchmarks.leakage import Overlap, overlap, seen_in
from sightword.checkpoints.native import load_checkpoint
from sightword.data.choices import Choices
from sightword.data.labelled import Captioned
from sightword.errors import RequestError
from sightword.evaluation.experiment import run_training
from sightword.evaluation.layers_charts import layer_charts
from sightword.evaluation.suites import all_specs, open_split
from sightword.files import whole_file
from sightword.training.data import read_data
from sightword.training.folder import MODEL
from sightword.training.log import read_log
from sightword.training.recipe import Recipe, read_recipe

RECIPE = Path(__file__).parent.parent / "recipes" / "negation.toml"
FULL, AUTHORS, PEERS = "full", "as the authors", ("con-clip", "negclip")
GROUPS = ("losses", "layers", "terms")
TOGETHER = 8  # models in memory
# All that is no block stands still, so that as many parameters train wherever the blocks are.
BLOCKS = (
    "model.text.tokens=false",
    "model.text.positions=false",
    "model.text.norm=false",
    "model.text.projection=false",
    "training.scale_lr=0",
)


def variants(blocks: int) -> dict[str, dict[str, tuple[str, ...]]]:
    """Changes of the recipe, by group and name. blocks: of the text tower. The recipe as it is is `front, as released`,
    too; the released code's middle and back are the second and the last third."""
    third = blocks // 3
    # The recipe's own text is 0, its choice and mcq 3: the hinge's margin only says something with a weight of it.
    terms = {"pairwise": (0,), "text": (0.3, 1, 3), "stage2": (0, 0.5, 2), "choice": (0, 1), "mcq": (0, 1)}
    hinge = "training.negation.text=1"
    return {
        "losses": {
            FULL: (),
            AUTHORS: ("training.negation={}",),
            **{name: (f"training.loss={name}", "training.negation={}") for name in PEERS},
        },
        "layers": {
            **{f"{part}, blocks alone": (f"model.text.train={part}", *BLOCKS) for part in ("front", "middle", "back")},
            "all, blocks alone": ("model.text.train=all", *BLOCKS),
            "middle, as released": (f"model.text.train={third}-{max(third, 2 * third - 1)}",),
            "back, as released": (f"model.text.train={2 * third}-{blocks - 1}",),
            "all, as released": ("model.text.train=all",),
        },
        "terms": {
            f"{term} {value:g}": (f"training.negation.{term}={value}",)
            for term, values in terms.items()
            for value in values
        }
        | {f"margin {value:g} (text 1)": (hinge, f"training.negation.margin={value}") for value in (0, 0.2, 0.5)},
    }


def chosen(asked: Sequence[str], groups: dict[str, dict[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    """Those of these names and groups; all without any. Raises RequestError."""
    every = {name: changes for group in groups.values() for name, changes in group.items()}
    names = [name for one in asked or GROUPS for name in groups.get(one, {one: ()})]
    unknown = [name for name in names if name not in every]
    if unknown:
        raise RequestError(f"--only: no variant is called {unknown[0]!r}; there are {', '.join((*GROUPS, *every))}")
    return {name: every[name] for name in dict.fromkeys(names)}


def recipe_of(start: Path, seed: int, out: Path, changes: Sequence[str]) -> Recipe:
    """The vectors of pictures and of the start's texts are the same for all variants of a seed."""
    own = [f"model.start={start}", f"seed={seed}"]
    shared = [f"model.image.vectors={out / 'vectors'}", f"training.teacher.cache={out / 'vectors'}"]
    return read_recipe(RECIPE, [*own, *shared, *changes])


def folder_of(out: Path, name: str, seed: int) -> Path:
    return out / "runs" / f"{re.sub(r'[^a-z0-9.]+', '-', name).strip('-')}-{seed}"


def trained_parameters(start: Path, model: Path) -> int:
    """Weights in tensors that are no longer the start's."""
    one, other = (load_checkpoint(path)[0].state_dict() for path in (start, model))
    return sum(tensor.numel() for name, tensor in other.items() if not torch.equal(tensor, one[name]))


def retained(run: Path) -> float:
    """The share of the retention set to which the model gives the name that the start gave."""
    rows = [event["row"] for event in read_log(run / "log.jsonl") if event["event"] == "validation"]
    return float(rows[-1]["retention"]["value"])


def leakage(recipe: Recipe, out: Path) -> tuple[list[Overlap], dict[str, list[bool]]]:
    """Of the tests with what the recipe trains on; and of each test of questions, which have no text of the training.
    Kept in OUT."""
    train, file = read_data(recipe.data).train, out / "leakage.json"
    fingerprint = train.fingerprint.hex()
    if file.exists() and (kept := json.loads(file.read_text()))["training"] == fingerprint:
        return [Overlap(**one) for one in kept["tests"]], kept["unseen"]
    seen, found = seen_in(train), []
    unseen: dict[str, list[bool]] = {}
    for name in evidence.DATA:
        data = open_split(all_specs()[name], None, "test")
        assert isinstance(data, Choices | Captioned)
        texts = [text for one in data.questions for text in one.texts] if isinstance(data, Choices) else data.texts
        found.append(overlap(seen, name, texts, data.images))
        if isinstance(data, Choices):
            unseen[name] = [not any(seen.has(text) for text in one.texts) for one in data.questions]
    _write(file, {"training": fingerprint, "tests": [one.to_json() for one in found], "unseen": unseen})
    return found, unseen


def leaked(found: Sequence[Overlap]) -> str:
    lines = ["| test | captions | of them in training | pictures | of them in training | nearest, grey levels |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    lines += [
        f"| {one.test} | {one.captions:,} | {one.captions_seen:,} | {one.pictures:,} | {one.pictures_seen:,} | "
        f"{one.nearest:.1f} |"
        for one in found
    ]
    return "\n".join(lines)


def measured(models: Sequence[Path], out: Path, unseen: dict[str, list[bool]]) -> list[evidence.Measured]:
    """Several at a time: scenes are made, and looked at for a fingerprint, once for all of them."""
    found = []
    for start in range(0, len(models), TOGETHER):
        some = models[start : start + TOGETHER]
        records = sightword.evaluate(some, evidence.DATA, out=out / "results").records
        # Data set after data set, and of each the models in their order.
        found += [evidence.measures_of(records[place :: len(some)], unseen) for place in range(len(some))]
    return found


def evaluated(
    starts: Sequence[Path], seeds: Sequence[int], every: Sequence[str], out: Path, unseen: dict[str, list[bool]]
) -> dict[str, Any]:
    """Of all variants that are trained with any of these seeds."""

    runs = {
        name: {seed: run for seed in seeds if ((run := folder_of(out, name, seed)) / MODEL).is_dir()} for name in every
    }
    models = [*starts, *(run / MODEL for of_name in runs.values() for run in of_name.values())]
    found = dict(zip(models, measured(models, out, unseen), strict=True))
    before = {seed: found[start] for start, seed in zip(starts, seeds, strict=True)}
    rows = evidence.rows_of(evidence.START, [*before.values()], [*before.values()])
    after: dict[str, dict[int, evidence.Measured]] = {}
    kept: dict[str, float] = {}
    trained: dict[str, int] = {}
    for name, done in runs.items():
        if done:
            after[name] = {seed: found[run / MODEL] for seed, run in done.items()}
            rows += evidence.rows_of(name, [before[seed] for seed in done], [*after[name].values()])
            kept[name] = sum(map(retained, done.values())) / len(done)
            seed, run = next(iter(done.items()))
            trained[name] = trained_parameters(starts[seeds.index(seed)], run / MODEL)
    pairs = []
    for name in after if FULL in after else ():
        both = [seed for seed in after[name] if seed in after[FULL]]
        if name != FULL and both:
            one, ours = ([after[which][seed] for seed in both] for which in (name, FULL))
            pairs.append(evidence.against(FULL, name, one, ours))
    return {"rows": rows, "retention": kept, "trained": trained, "against": pairs}


def draw(rows: Sequence[dict[str, Any]], models: Sequence[Path], out: Path) -> None:
    evidence.ablations_chart(rows).save(out, "ablations")
    found = sightword.evaluate(models, task=["layers"], out=out / "results")
    names = [evidence.START, *(model.parent.name for model in models[1:])]
    # Records are in the order of the models.
    for number, chart in enumerate(layer_charts([*zip(names, found.records, strict=True)]), start=1):
        chart.save(out, f"layers-{number}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("starts", type=Path, nargs="+", metavar="START", help="a CLIP for each seed")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--seeds", type=int, nargs="+", help="of the starts; 0, 1, … otherwise")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="variants or groups of them")
    parser.add_argument("--steps", type=int, help="of every training")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes")
    asked = parser.parse_args(arguments)
    seeds = asked.seeds or [*range(len(asked.starts))]
    if len(seeds) != len(asked.starts) or len({*seeds}) < len(seeds):
        parser.error(f"{len(asked.starts)} starts and the seeds {seeds}: each start has one of its own")
    asked.out.mkdir(parents=True, exist_ok=True)
    changes = [*asked.changes, *([f"training.steps={asked.steps}"] if asked.steps else [])]

    tower = load_checkpoint(asked.starts[0])[0].text
    groups = variants(len(tower.stages()) - 1)
    for name, own in chosen(asked.only, groups).items():
        for start, seed in zip(asked.starts, seeds, strict=True):
            print(f"training: {name}, seed {seed}", flush=True)
            run_training(recipe_of(start, seed, asked.out, (*changes, *own)), folder_of(asked.out, name, seed))
    shared, unseen = leakage(recipe_of(asked.starts[0], seeds[0], asked.out, changes), asked.out)
    every = [name for group in groups.values() for name in group]
    found = evaluated(asked.starts, seeds, every, asked.out, unseen)
    tables = (
        ("What the tests share with the training", leaked(shared)),
        ("All variants, %", evidence.overview(found["rows"], found["retention"], found["trained"])),
        (f"{FULL} against the others, at equal steps", evidence.compared(found["against"])),
        ("Against the start", evidence.differences(found["rows"])),
    )
    page = "\n\n".join(f"## {title}\n\n{table}" for title, table in tables)
    print(page)
    _write(asked.out / "rows.json", {**found, "leakage": [one.to_json() for one in shared]})
    with whole_file(asked.out / "negation.md") as temporary:
        temporary.write_text(page + "\n", encoding="utf-8")
    first = [folder_of(asked.out, name, seeds[0]) / MODEL for name in (FULL, *PEERS)]
    draw(found["rows"], [asked.starts[0], *(model for model in first if model.is_dir())], asked.out)


def _write(file: Path, values: Any) -> None:
    with whole_file(file) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

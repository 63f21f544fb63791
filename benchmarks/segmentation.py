"""LSeg on scenes: all rows of docs/benchmarks.md's table, with intervals over pictures.

    python benchmarks/segmentation.py runs/segmentation --seeds 0 1 2

Trains recipes/quickstart.toml, scenes-clip.toml and scenes-clip-192.toml (the start), and recipes/lseg-scenes.toml
without masks of a tenth of the names, once a seed, where OUT does not hold them yet: a finished run is only measured,
and one that was cut goes on. Then, 20 labels a picture (which of the settings were chosen on what: docs/benchmarks.md):

- names with masks, in pictures and styles that no training had (Appl, Wind);
- names without masks, in the same styles: the start knows them by captions, and LSeg never saw them (what the paper
  calls zero-shot: its text tower knows all names, and masks are of some);
- names that neither the start nor LSeg ever saw;
- the start itself without training, on the same pictures, and how many times its mIoU LSeg has; and both
  again, refined by the picture's colours (PAMR);
- the same labels in another order: pictures whose masks differ in any pixel;
- the label vectors of another text tower (the sentence encoder as published): as they are, and turned onto the old
  ones by the rotation that fits the names with masks best (Procrustes);
- --ablations: the two blocks and their depths, trained anew each, for --ablation-steps;
- --vit MODEL: the training-free rules on a Vision Transformer with a class token, and how many times plain patches
  (`clip`) they have, on all names of the training in unseen styles and in its own (`validation`); the ground does not
  count there, as in VOC-20 and Context-59, since "other" says nothing to such a model. Seeds may then be none.

mIoU is the mean, over the names that some picture holds, of intersections and unions summed over all pictures. It
stands with and without the background ("other").
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sightword
from sightword.data.masked import Masked
from sightword.data.scenes import Scenes, Split, Sprites, emoji_sprites, masked_scenes
from sightword.data.scenes.labels import OTHER
from sightword.dense.segmenter import Segmenter
from sightword.evaluation.bootstrap import RESAMPLES, resample
from sightword.evaluation.experiment import run_training
from sightword.evaluation.segmentation import Segmented, overlap
from sightword.model import Model
from sightword.towers.backbone import TextEncoder
from sightword.towers.patch_rules import RULES
from sightword.training.data import names_held_out
from sightword.training.recipe import read_recipe

RECIPES = Path(__file__).parent.parent / "recipes"
HELD_OUT = 0.1  # the share of the names that LSeg sees no mask of
STARTS = ("quickstart", "scenes-clip", "scenes-clip-192")  # each from the one before; LSeg from the last
MASKED, NAMED, UNSEEN = "names with masks", "names without masks", "names never seen"
RULES_SPLITS: tuple[Split, ...] = ("unseen-styles", "validation")
SIZE = 224  # pixels a side, as in training
BLOCKS = [("none", 0), *((block, depth) for block in ("depthwise", "bottleneck") for depth in (1, 2, 4))]
Row = dict[str, Any]
Predict = Callable[[sightword.data.images.ImageLike, Sequence[str]], np.ndarray]


def trained(recipe: str, out: Path, seed: int, *changes: str) -> Model:
    run_training(read_recipe(RECIPES / recipe, (*changes, f"seed={seed}")), out)
    return sightword.load(out / "model")


def halves(sprites: Sprites) -> tuple[Sprites, Sprites]:
    """Names with masks, and without."""
    held_out = names_held_out(sprites, HELD_OUT)
    return sprites.only(lambda name: name not in held_out), sprites.only(lambda name: name in held_out)


def three_tests(sprites: Sprites, pictures: int) -> dict[str, Masked]:
    masked, named = halves(sprites)
    parts: dict[str, tuple[Sprites, Split]] = {
        MASKED: (masked, "unseen-styles"),
        NAMED: (named, "unseen-styles"),
        UNSEEN: (sprites, "unseen-names"),
    }
    return {test: masked_scenes(Scenes(some, split, pictures, SIZE)) for test, (some, split) in parts.items()}


def start_of(out: Path, seed: int) -> Path:
    begun: tuple[str, ...] = ()
    for recipe in STARTS:
        trained(f"{recipe}.toml", out / f"{recipe}-{seed}", seed, *begun)
        begun = (f"model.start={out / f'{recipe}-{seed}' / 'model'}",)
    return out / f"{STARTS[-1]}-{seed}" / "model"


def segmented(predict: Predict, masked: Masked) -> Segmented:
    return Segmented(
        overlap(predict(picture.image(), picture.labels), picture.mask(), picture.labels) for picture in masked.pictures
    )


def row_of(name: str, test: str, found: Segmented) -> Row:
    with_other = found.estimate("miou")
    without = found.estimate("miou_foreground", OTHER) if OTHER in found.names else with_other
    print(
        f"{name:44} {test:26} {100 * with_other.value:5.1f} ({100 * with_other.low:.1f}-{100 * with_other.high:.1f})"
        f"   without {OTHER!r} {100 * without.value:5.1f}",
        flush=True,
    )
    return {
        "what": name,
        "test": test,
        "miou": with_other.value,
        "low": with_other.low,
        "high": with_other.high,
        "miou_without_other": without.value,
        "low_without_other": without.low,
        "high_without_other": without.high,
        "pictures": len(found.true_NC),
        "names": len(found.names),
    }


def measured(name: str, predict: Predict, tests: dict[str, Masked]) -> Iterable[Row]:
    for test, masked in tests.items():
        yield row_of(name, test, segmented(predict, masked))


def ratio(one: Segmented, other: Segmented, seed: int = 0) -> tuple[float, float, float]:
    """mIoU of one over that of the other, of the same pictures, with the 95 % of its resamples (which are paired: the
    same pictures are drawn for both)."""
    over, under = one.statistic("miou"), other.statistic("miou")
    ratios = resample(over, (), seed, RESAMPLES)[0] / resample(under, (), seed, RESAMPLES)[0]
    low, high = np.percentile(ratios, [2.5, 97.5])
    return over.value / under.value, float(low), float(high)


def compared(predicts: dict[str, Predict], base: str, tests: dict[str, Masked]) -> Iterable[Row]:
    """As `measured`, each beside the one called `base` on the same pictures."""
    for test, masked in tests.items():
        found = {name: segmented(predict, masked) for name, predict in predicts.items()}
        for name, one in found.items():
            row = row_of(name, test, one)
            times, low, high = ratio(one, found[base])
            if name != base:
                print(f"{'':44} {test:26} {times:5.2f} ({low:.2f}-{high:.2f}) times {base}", flush=True)
            yield {**row, "times": times, "least": low, "most": high}


def served(model: Model, rule: Any, picture: Any, labels: Sequence[str], refine: bool = False) -> np.ndarray:
    return Segmenter(model, labels, rule=rule, refine=refine).predict(picture).mask


def with_other_texts(model: Model, vectors: Callable[[Sequence[str]], np.ndarray], picture: Any, labels: Any) -> Any:
    segmenter = Segmenter(model, labels)
    segmenter.head_QD = torch.tensor(vectors(segmenter.queries))
    return segmenter.predict(picture).mask


def order_row(model: Model, masked: Masked, seed: int) -> Row:
    rng, differ = np.random.default_rng(seed), 0
    for picture in masked.pictures:
        shuffled = [picture.labels[place] for place in rng.permutation(len(picture.labels))]
        one = np.array(picture.labels)[served(model, None, picture.image(), picture.labels)]
        differ += not np.array_equal(one, np.array(shuffled)[served(model, None, picture.image(), shuffled)])
    what = f"labels in another order, seed {seed}"
    print(f"{what}: {differ} of {len(masked)} masks differ in a pixel", flush=True)
    return {"what": what, "pictures": len(masked), "masks_that_differ": differ}


def exchange(
    model: Model, encoder: TextEncoder, names: Sequence[str]
) -> dict[str, Callable[[Sequence[str]], np.ndarray]]:
    """The sentence encoder's vectors of texts, as they are and rotated. names: with masks."""

    @torch.inference_mode()
    def raw(texts: Sequence[str]) -> np.ndarray:
        found: np.ndarray = encoder.features(model.tokenizer(list(texts), truncate=True)).numpy()
        return found

    u, _, vt = np.linalg.svd(raw(names).T @ model.embed_texts(names))
    return {"raw": raw, "rotated": lambda texts: raw(texts) @ (u @ vt)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--pictures", type=int, default=1000, help="of each test")
    parser.add_argument("--ablations", action="store_true")
    parser.add_argument("--ablation-steps", type=int, default=300)
    parser.add_argument("--vit", help="a CLIP whose image tower is a Vision Transformer, for the rules")
    asked = parser.parse_args()

    sprites = emoji_sprites()
    tests = three_tests(sprites, asked.pictures)
    rows: list[Row] = []
    for seed in asked.seeds:
        start = start_of(asked.out, seed)
        begun = (f"model.start={start}", f"data.scenes.names_held_out={HELD_OUT}")
        model = trained("lseg-scenes.toml", asked.out / f"lseg-{seed}", seed, *begun)
        untrained = sightword.load(start)
        for refine, how in ((False, ""), (True, "refined, ")):
            base = f"its start, without training, {how}seed {seed}"
            pair = {
                name: partial(served, one, None, refine=refine)
                for name, one in ((f"LSeg, {how}seed {seed}", model), (base, untrained))
            }
            rows += compared(pair, base, tests)
        rows.append(order_row(model, tests[UNSEEN], seed))
        # The quickstart leaves the body of its sentence encoder as it was published.
        encoder = sightword.load(asked.out / f"{STARTS[0]}-{seed}" / "model").model.text
        assert isinstance(encoder, TextEncoder)
        names = Scenes(halves(sprites)[0], "train").names
        for how, vectors in exchange(model, encoder, names).items():
            changed = partial(with_other_texts, model, vectors)
            rows += measured(f"another text tower, {how}, seed {seed}", changed, tests)
        for block, depth in BLOCKS if asked.ablations else []:
            kind = [] if block == "none" else [f"model.dense.block={block}"]
            changes = [*begun, f"training.steps={asked.ablation_steps}", f"model.dense.depth={depth}", *kind]
            other = trained("lseg-scenes.toml", asked.out / f"{block}-{depth}-{seed}", seed, *changes)
            rows += measured(f"block {block}, depth {depth}, seed {seed}", partial(served, other, None), tests)
    if asked.vit:
        vit = sightword.load(asked.vit)
        called = {rule: f"ViT, without training: {rule}" for rule in RULES}
        rows += compared(
            {name: partial(served, vit, rule) for rule, name in called.items()},
            called["clip"],
            {
                split: masked_scenes(Scenes(sprites, split, asked.pictures, SIZE), ground=False)
                for split in RULES_SPLITS
            },
        )
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "rows.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()

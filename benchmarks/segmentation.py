"""LSeg on scenes: all rows of docs/benchmarks.md's table, with intervals over pictures.

    python benchmarks/segmentation.py runs/segmentation --seeds 0 1 2

Trains recipes/quickstart.toml (the start) and recipes/lseg-scenes.toml, once a seed, where OUT does not hold them yet:
a finished run is only measured, and one that was cut goes on. Then, on test splits that nothing was chosen on:

- names seen in training, in pictures and styles that were not (Appl, Wind), and names never seen, 20 labels a picture;
- the start itself without training, on the same pictures;
- the same labels in another order: pictures whose masks differ in any pixel;
- the label vectors of another text tower (the sentence encoder as it was before the start trained its projection): as
  they are, and turned onto the old ones by the rotation that fits the training names best (Procrustes);
- --ablations: the two blocks and their depths, trained anew each, seed 0, for --ablation-steps;
- --vit MODEL: the training-free rules on a Vision Transformer with a class token, and plain patches (`clip`) beside
  them; the ground does not count there, as in VOC-20 and Context-59, since "other" says nothing to such a model.

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
from sightword.data.scenes import Scenes, Split, emoji_sprites, masked_scenes
from sightword.data.scenes.labels import OTHER
from sightword.dense.segmenter import Segmenter
from sightword.evaluation.experiment import run_training
from sightword.evaluation.segmentation import Segmented, overlap
from sightword.model import Model
from sightword.towers.backbone import TextEncoder
from sightword.towers.patch_rules import RULES
from sightword.training.recipe import read_recipe

RECIPES = Path(__file__).parent.parent / "recipes"
SPLITS: dict[str, Split] = {"seen names, unseen styles": "unseen-styles", "unseen names": "unseen-names"}
SIZE = 224  # pixels a side, as in training
BLOCKS = [("none", 0), *((block, depth) for block in ("depthwise", "bottleneck") for depth in (1, 2, 4))]
Row = dict[str, Any]
Predict = Callable[[sightword.data.images.ImageLike, Sequence[str]], np.ndarray]


def trained(recipe: str, out: Path, seed: int, *changes: str) -> Model:
    run_training(read_recipe(RECIPES / recipe, (*changes, f"seed={seed}")), out)
    return sightword.load(out / "model")


def measured(name: str, predict: Predict, tests: dict[str, Masked]) -> Iterable[Row]:
    for test, masked in tests.items():
        found = Segmented(
            overlap(predict(picture.image(), picture.labels), picture.mask(), picture.labels)
            for picture in masked.pictures
        )
        with_other, without = found.estimate("miou"), found.estimate("miou_foreground", OTHER)
        row = {
            "what": name,
            "test": test,
            "miou": with_other.value,
            "low": with_other.low,
            "high": with_other.high,
            "miou_without_other": without.value,
            "low_without_other": without.low,
            "high_without_other": without.high,
            "pictures": len(masked),
            "names": len(found.names),
        }
        print(
            f"{name:44} {test:26} {100 * row['miou']:5.1f} ({100 * row['low']:.1f}-{100 * row['high']:.1f})"
            f"   without {OTHER!r} {100 * row['miou_without_other']:5.1f}",
            flush=True,
        )
        yield row


def served(model: Model, rule: Any, picture: Any, labels: Sequence[str]) -> np.ndarray:
    return Segmenter(model, labels, rule=rule).predict(picture).mask


def with_other_texts(model: Model, vectors: Callable[[Sequence[str]], np.ndarray], picture: Any, labels: Any) -> Any:
    segmenter = Segmenter(model, labels)
    segmenter.head_QD = torch.tensor(vectors(segmenter.queries))
    return segmenter.predict(picture).mask


def order_row(model: Model, masked: Masked, seed: int = 0) -> Row:
    rng, differ = np.random.default_rng(seed), 0
    for picture in masked.pictures:
        shuffled = [picture.labels[place] for place in rng.permutation(len(picture.labels))]
        one = np.array(picture.labels)[served(model, None, picture.image(), picture.labels)]
        differ += not np.array_equal(one, np.array(shuffled)[served(model, None, picture.image(), shuffled)])
    print(f"labels in another order: {differ} of {len(masked)} masks differ in a pixel", flush=True)
    return {"what": "labels in another order", "pictures": len(masked), "masks_that_differ": differ}


def exchange(model: Model, names: Sequence[str]) -> dict[str, Callable[[Sequence[str]], np.ndarray]]:
    """The sentence encoder's own vectors of texts, as they are and rotated. names: of the training scenes."""
    tower = model.model.text
    assert isinstance(tower, TextEncoder)

    @torch.inference_mode()
    def raw(texts: Sequence[str]) -> np.ndarray:
        found: np.ndarray = tower.features(model.tokenizer(list(texts), truncate=True)).numpy()
        return found

    u, _, vt = np.linalg.svd(raw(names).T @ model.embed_texts(names))
    return {"raw": raw, "rotated": lambda texts: raw(texts) @ (u @ vt)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--pictures", type=int, default=1000, help="of each test")
    parser.add_argument("--ablations", action="store_true")
    parser.add_argument("--ablation-steps", type=int, default=300)
    parser.add_argument("--vit", help="a CLIP whose image tower is a Vision Transformer, for the rules")
    asked = parser.parse_args()

    sprites = emoji_sprites()
    tests = {test: masked_scenes(Scenes(sprites, split, asked.pictures, SIZE)) for test, split in SPLITS.items()}
    rows: list[Row] = []
    for seed in asked.seeds:
        start = trained("quickstart.toml", asked.out / f"start-{seed}", seed)
        begun = f"model.start={asked.out / f'start-{seed}' / 'model'}"
        model = trained("lseg-scenes.toml", asked.out / f"lseg-{seed}", seed, begun)
        rows += measured(f"LSeg, seed {seed}", partial(served, model, None), tests)
        rows += measured(f"its start, without training, seed {seed}", partial(served, start, None), tests)
        if seed == asked.seeds[0]:
            rows.append(order_row(model, tests["unseen names"]))
            for how, vectors in exchange(model, Scenes(sprites, "train").names).items():
                rows += measured(f"another text tower, {how}", partial(with_other_texts, model, vectors), tests)
            for block, depth in BLOCKS if asked.ablations else []:
                kind = [] if block == "none" else [f"model.dense.block={block}"]
                changes = [begun, f"training.steps={asked.ablation_steps}", f"model.dense.depth={depth}", *kind]
                other = trained("lseg-scenes.toml", asked.out / f"{block}-{depth}", seed, *changes)
                rows += measured(f"block {block}, depth {depth}", partial(served, other, None), tests)
    if asked.vit:
        vit = sightword.load(asked.vit)
        things = {
            test: masked_scenes(Scenes(sprites, split, asked.pictures, SIZE), ground=False)
            for test, split in SPLITS.items()
        }
        for rule in RULES:
            rows += measured(f"ViT, without training: {rule}", partial(served, vit, rule), things)
    (asked.out / "rows.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()

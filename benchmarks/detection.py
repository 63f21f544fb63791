"""Boxes on scenes: average precision of models, as COCO has it, on test splits that nothing was chosen on.

    .venv/bin/python benchmarks/detection.py MODEL … [--pictures 200] [--labels 20]

Each picture is asked for its own names and others of its split that are not there, 20 labels in all; "other", the
background, is one of them and gets no boxes.
"""

from __future__ import annotations

import argparse

import sightword
from sightword.data.scenes import Scenes, Split, emoji_sprites
from sightword.evaluation.detection import detect_scenes

SPLITS: tuple[Split, ...] = ("unseen-styles", "unseen-names")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--pictures", type=int, default=200, help="of each test")
    parser.add_argument("--labels", type=int, default=20)
    asked = parser.parse_args()
    sprites = emoji_sprites()
    for name in asked.models:
        model = sightword.load(name)
        for split in SPLITS:
            found = detect_scenes(model, Scenes(sprites, split, asked.pictures), asked.labels)
            print(
                f"{name:40} {split:14} AP {100 * found.ap:5.1f}  AP50 {100 * found.ap50:5.1f}"
                f"   {found.pictures} pictures, {found.boxes} boxes, {len(found.by_label)} names",
                flush=True,
            )


if __name__ == "__main__":
    main()

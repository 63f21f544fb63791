"""KITTI's pictures of roads, as a task of VTAB (Zhai et al. 2019, arXiv 1910.04867): how far is the closest vehicle?"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Literal

import numpy as np

from sightword.data.labelled import Labelled
from sightword.data.readers.base import Reader, Split, numbered, read_lines
from sightword.errors import RequestError

_VEHICLES = {"Car", "Van", "Truck"}
_LIMITS = (8.0, 20.0, 999.0)  # metres in front of the camera, between the classes
_NONE = 1000.0  # metres to a vehicle that is not there
_HELD = 10  # per cent of the drives, for validation and for the test each
_SEED = 123


class Kitti(Reader):
    """`training/image_2/000000.png` and `training/label_2/000000.txt` (object detection); and, of the devkit,
    `mapping/train_mapping.txt` (a line a picture: date, drive, frame) and `mapping/train_rand.txt` (which of them the
    pictures are).

    KITTI's own test has no labels. The splits are those of TensorFlow Datasets, which VTAB and CLIP's paper use: whole
    drives are held out. Classes: a vehicle within 8 m, within 20 m, further away, none.
    """

    unmistakable = True
    kind: Literal["kitti"] = "kitti"

    def has(self, root: Path, split: Split) -> bool:
        return (root / "training" / "image_2").is_dir() and (root / "training" / "label_2").is_dir()

    def read(self, root: Path, split: Split, name: str) -> Labelled:
        numbers = sorted(_split(root)[split])
        labels = [_label(root / "training" / "label_2" / f"{number:06}.txt") for number in numbers]
        keys = [f"{number:06}.png" for number in numbers]
        images = [str(root / "training" / "image_2" / key) for key in keys]
        return Labelled(name, split, images, np.array(labels, np.int64), numbered(len(_LIMITS) + 1), keys)


def _label(file: Path) -> int:
    """A line an object: type, truncated, occluded, alpha, box (4), size (3), location x y z in metres, rotation."""
    nearest = _NONE
    for at, line in enumerate(read_lines(file), start=1):
        fields = line.split()
        try:
            if fields[0] in _VEHICLES:
                nearest = min(nearest, float(fields[13]))
        except (IndexError, ValueError):
            raise RequestError(f"{file}: line {at} is no object of KITTI's: {line!r}") from None
    return sum(limit < nearest for limit in _LIMITS)


def _split(root: Path) -> dict[Split, list[int]]:
    """The numbers of the pictures in each split."""
    folder = root / "devkit_object" / "mapping"  # if the devkit was unpacked into a folder of its own
    folder = folder if folder.is_dir() else root / "mapping"
    mapping, order = folder / "train_mapping.txt", folder / "train_rand.txt"
    if not (mapping.is_file() and order.is_file()):
        raise RequestError(
            f"{root}: lacks {mapping.parent.name}/{mapping.name} or {order.name}: unpack devkit_object.zip there"
        )
    lines = read_lines(mapping)
    drives: dict[str, list[int]] = defaultdict(list)
    try:
        for number, place in enumerate(int(place) for place in ",".join(read_lines(order)).split(",")):
            if not 1 <= place <= len(lines):
                raise ValueError(f"{place} is no line of {mapping.name}")
            drives[lines[place - 1].split()[1]].append(number)
    except (ValueError, IndexError) as failure:
        raise RequestError(f"{order}: does not tell KITTI's pictures ({failure})") from None
    # As TensorFlow Datasets draws them (object_detection/kitti.py), in this order and from this generator.
    random = np.random.RandomState(_SEED)
    held = max(1, _HELD * len(drives) // 100)
    if len(drives) < 3:
        raise RequestError(f"{mapping}: tells of {len(drives)} drives, too few for three splits")
    test = {*random.choice(sorted(drives), held, replace=False).tolist()}
    validation = {*random.choice(sorted(drives.keys() - test), held, replace=False).tolist()}
    found: dict[Split, list[int]] = {"train": [], "validation": [], "test": []}
    for drive, numbers in drives.items():
        found["test" if drive in test else "validation" if drive in validation else "train"] += numbers
    return found

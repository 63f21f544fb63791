"""Birdsnap as its authors' script `get_birdsnap.py` leaves it."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Literal

import numpy as np

from sightword.data.labelled import Labelled
from sightword.data.pairs import Skipped
from sightword.data.readers.base import Reader, Split
from sightword.errors import RequestError


class Birdsnap(Reader):
    """`species.txt` (id, common), `images.txt` (path, species_id) and `test_images.txt` (path): a header each, and tabs
    between the fields. The pictures that could still be fetched are in `download/images`; those that are gone are left
    out, and counted. Classes are in the order of their ids, which begin at 1."""

    kind: Literal["birdsnap"] = "birdsnap"
    pictures: str = "download/images"

    def has(self, root: Path, split: Split) -> bool:
        files = ("species.txt", "images.txt", "test_images.txt")
        return split != "validation" and all((root / file).is_file() for file in files)

    def read(self, root: Path, split: Split, name: str) -> Labelled:
        species = sorted((_id(root / "species.txt", number), called)
                         for number, called in _rows(root / "species.txt", "id", "common"))  # fmt: skip
        if [number for number, _ in species] != [*range(1, len(species) + 1)]:
            raise RequestError(f"{root / 'species.txt'}: the ids do not count the species from 1")
        held = {path for (path,) in _rows(root / "test_images.txt", "path")}
        there = _files_in(root / self.pictures)
        keys: list[str] = []
        labels: list[int] = []
        gone: list[Skipped] = []
        for path, number in _rows(root / "images.txt", "path", "species_id"):
            if (path in held) != (split == "test"):
                continue
            if path in there:
                keys.append(path)
                labels.append(_id(root / "images.txt", number) - 1)
            else:
                gone.append(Skipped(path, f"is not in {self.pictures}"))
        images = [str(root / self.pictures / key) for key in keys]
        classes = tuple(called for _, called in species)
        return Labelled(name, split, images, np.array(labels, np.int64), classes, keys, skipped=gone)


def _files_in(folder: Path) -> set[str]:
    """Paths in the folders of species."""
    return {f"{Path(place).name}/{file}" for place, _, files in os.walk(folder) for file in files}


def _id(file: Path, number: str) -> int:
    if not number.isdecimal():
        raise RequestError(f"{file}: {number!r} is no id of a species")
    return int(number)


def _rows(file: Path, *columns: str) -> list[tuple[str, ...]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
            lacks = [column for column in columns if column not in (reader.fieldnames or ())]
            if lacks:
                raise RequestError(f"{file}: has no column {lacks[0]!r}; it has {', '.join(reader.fieldnames or ())}")
            return [tuple((row[column] or "").strip() for column in columns) for row in reader]
    except (csv.Error, UnicodeDecodeError, OSError) as failure:
        raise RequestError(f"{file}: not a readable table ({failure})") from None

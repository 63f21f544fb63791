"""Grey pictures as numbers in a CSV table: FER 2013."""

from __future__ import annotations

import csv
from math import isqrt
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sightword.data.labelled import Labelled
from sightword.data.readers.base import Reader, Split, numbered
from sightword.errors import RequestError


class PixelTable(Reader):
    """file: the table. Its column `pixels` holds the grey values of a square picture, row by row, with blanks between;
    `label` and `part` are the columns of its label, a number from 0 on, and of its split. parts: what the splits are
    called there."""

    kind: Literal["pixel_table"] = "pixel_table"
    file: str
    pixels: str = "pixels"
    label: str
    part: str

    def has(self, root: Path, split: Split) -> bool:
        return split in self.parts and (root / self.file).is_file()

    def read(self, root: Path, split: Split, name: str) -> Labelled:
        file = root / self.file
        pictures: list[NDArray[np.uint8]] = []
        labels: list[int] = []
        largest, line = -1, 1
        try:
            with file.open(newline="", encoding="utf-8-sig") as lines:
                reader = csv.DictReader(lines, skipinitialspace=True, strict=True)
                lacks = [one for one in (self.pixels, self.label, self.part) if one not in (reader.fieldnames or ())]
                if lacks:
                    told = ", ".join(reader.fieldnames or ())
                    raise RequestError(f"{file}: has no column {lacks[0]!r}; it has {told}")
                for row in reader:
                    line += 1
                    label = int(row[self.label])
                    largest = max(largest, label)  # of all splits: a class that one lacks keeps its number
                    if row[self.part] == self.parts.get(split, split):
                        values = np.array(bytearray(map(int, row[self.pixels].split())), np.uint8)
                        side = isqrt(len(values))
                        if not side:
                            raise ValueError("it holds no pixels")
                        pictures.append(values.reshape(side, side))
                        labels.append(label)
        except (ValueError, TypeError, AttributeError, csv.Error, OSError) as failure:
            raise RequestError(f"{file}: line {line} cannot be read ({failure})") from None
        keys = [*map(str, range(len(pictures)))]
        return Labelled(name, split, pictures, np.array(labels, np.int64), numbered(largest + 1), keys)

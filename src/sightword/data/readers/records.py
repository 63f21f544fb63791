"""Pictures that a JSON file tells of: Hateful Memes, a record a line; CLEVR, a list of scenes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from sightword.data.labelled import Labelled
from sightword.data.readers.base import Reader, Split, numbered
from sightword.errors import RequestError


class Records(Reader):
    """parts: the file of each split. inside: the key of the list in it; otherwise there is a record on each line.
    image, label: keys of a record. pictures: for each split, the folder in which the paths begin, where that is not the
    data set's. A label is a number from `first` on, or a list, which counts as the number of what it holds."""

    kind: Literal["records"] = "records"
    inside: str = ""
    image: str
    label: str
    first: int = 0
    pictures: dict[Split, str] = Field(default={})

    def has(self, root: Path, split: Split) -> bool:
        return split in self.parts and (root / self.parts[split]).is_file()

    def read(self, root: Path, split: Split, name: str) -> Labelled:
        if not self.has(root, split):
            raise RequestError(f"{root}: has no {self.parts.get(split, f'file of the split {split!r}')}")
        file = root / self.parts[split]
        keys: list[str] = []
        values: list[int] = []
        for number, record in enumerate(self._records(file), start=1):
            image, label = (record.get(self.image), record.get(self.label)) if isinstance(record, dict) else ("", None)
            value = len(label) if isinstance(label, list) else label
            if not isinstance(image, str) or not image or not isinstance(value, int):
                raise RequestError(
                    f"{file}: record {number} has no {self.image!r} with a number or list {self.label!r}"
                )
            keys.append(image)
            values.append(value)
        labels = np.array(values, np.int64) - self.first
        folder = root / self.pictures.get(split, "")
        images = [str(folder / key) for key in keys]
        return Labelled(name, split, images, labels, numbered(int(labels.max(initial=-1)) + 1), keys)

    def _records(self, file: Path) -> list[Any]:
        try:
            text = file.read_text(encoding="utf-8")
            if not self.inside:
                return [json.loads(line) for line in text.splitlines() if line.strip()]
            found = json.loads(text)[self.inside]
        except (OSError, ValueError, LookupError, TypeError) as failure:
            raise RequestError(f"{file}: is no JSON of such records ({type(failure).__name__}: {failure})") from None
        if not isinstance(found, list):
            raise RequestError(f"{file}: {self.inside!r} is no list")
        return found

"""Captions in the JSON files of Karpathy's splits: `dataset_flickr30k.json`, `dataset_coco.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from sightword.config import Positive
from sightword.data.labelled import Captioned
from sightword.data.readers.base import Reader, Split
from sightword.errors import RequestError


class Karpathy(Reader):
    """file: the JSON file. pictures: the folder of the pictures; in it, COCO's lie in a further one (`filepath`).
    captions: how many of each picture's are taken, the first ones; a few of COCO's pictures have more than five."""

    kind: Literal["karpathy"] = "karpathy"
    file: str
    pictures: str
    captions: Positive = 5
    parts: dict[Split, str] = Field(default={"train": "train", "validation": "val", "test": "test"})

    def has(self, root: Path, split: Split) -> bool:
        return split in self.parts and (root / self.file).is_file()

    def read(self, root: Path, split: Split, name: str) -> Captioned:
        file = root / self.file
        wanted = {self.parts.get(split, split)} | ({"restval"} if split == "train" else set())
        keys: list[str] = []
        texts: list[str] = []
        owners: list[int] = []
        try:
            for entry in json.loads(file.read_text(encoding="utf-8"))["images"]:
                if entry["split"] in wanted:
                    inside = entry.get("filepath", "")
                    sentences = [sentence["raw"].strip() for sentence in entry["sentences"]][: self.captions]
                    texts += sentences
                    owners += [len(keys)] * len(sentences)
                    keys.append(f"{inside}/{entry['filename']}" if inside else entry["filename"])
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as failure:
            raise RequestError(
                f"{file}: is no file of Karpathy's splits ({type(failure).__name__}: {failure})"
            ) from None
        images = [str(root / self.pictures / key) for key in keys]
        return Captioned(name, split, images, texts, np.array(owners, np.int64), keys)

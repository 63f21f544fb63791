"""A folder for each class, in a folder for each split: `train/tabby cat/1.jpg`. ImageNet lies so, by synsets."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from sightword.config import Positive
from sightword.data.labelled import Labelled
from sightword.data.pairs import fraction_of, is_image_file
from sightword.data.readers.base import CALLED, SPLITS, Reader, Split, in_order, listed_names, read_lines, readable
from sightword.data.stored import printable
from sightword.errors import RequestError

_SYNSET = re.compile(r"n\d{8}")
# Files with the names of synsets, one a line behind its synset: Kaggle's and the devkit's of ImageNet; ImageNet-A and
# -R bring theirs in README.txt.
_SYNSET_FILES = ("LOC_synset_mapping.txt", "synset_words.txt", "words.txt", "README.txt")
_NO_CLASSES = {"data", *(called for split in SPLITS for called in CALLED[split])}


class ClassFolders(Reader):
    """Classes are in the order of their folders' names, numbers by value. A class is called as a file beside the splits
    says: `classnames.txt` or `classes.txt` (one name a line, in the order of the classes) or, where the folders are
    synsets, a list of `n01440764 tench, …`. Without one, it is called as its folder, `_` being a space.

    within: a folder inside the data set in which all of that lies. names: a JSON file (folder to name). only: a JSON
    file whose keys are the names of the classes that count; the others are left out. Both are ObjectNet's. whole: the
    classes lie in the data set's folder itself, which is this split. each: they lie so, and the data set has no splits:
    so many pictures of each class are in these, by a hash of their paths in it; `"rest"` is what is left.
    """

    kind: Literal["folders"] = "folders"
    within: str = ""
    names: str = ""
    only: str = ""
    whole: Split | None = None
    each: dict[Split, Positive | Literal["rest"]] = Field(default={})

    def has(self, root: Path, split: Split) -> bool:
        if not self._in_one:
            return self._place(root, split) is not None
        inside = {*_classes_in(root / self.within)}
        # A folder that is called as a split is no class, and then this is another layout. So is a single one, where
        # classes are drawn from: tables of Hugging Face may lie in one.
        enough = len(inside) > (1 if self.each else 0)
        return split in (self.each or (self.whole,)) and enough and not inside & _NO_CLASSES

    @property
    def _in_one(self) -> bool:
        return self.whole is not None or bool(self.each)

    def read(self, root: Path, split: Split, name: str) -> Labelled:
        place = root / self.within if self._in_one else self._place(root, split)
        if place is None or (self.each and split not in self.each):
            raise RequestError(f"{root}: has no folder for the split {split!r}")
        called = self.names_of_folders(root)
        folders = [*called]
        wanted = set(read_json(root / self.only)) if self.only else None
        folders = [folder for folder in folders if wanted is None or called[folder] in wanted]
        # Two folders may be called alike on purpose (`names`): they are then one class.
        classes = tuple(dict.fromkeys(called[folder] for folder in folders)) if self.names else ()
        classes = classes or tuple(called[folder] for folder in folders)
        files, labels = [], []
        for number, folder in enumerate(folders):
            inside = self._drawn(place, [*_pictures_in(place / folder)], split)
            files += inside
            labels += [classes.index(called[folder]) if self.names else number] * len(inside)
        keys = [printable(os.path.relpath(file, place)) for file in files]
        told = ", ".join(f"{wanted} of each class in `{part}`" for part, wanted in self.each.items())
        made = f"the data have no splits: {told}, by a hash of each picture's path" if told else ""
        return Labelled(name, split, files, np.array(labels, np.int64), classes, keys, made=made)

    def names_of_folders(self, root: Path) -> dict[str, str]:
        """What the class of each folder is called, in the order of the classes. Reads no picture. Raises
        RequestError."""
        # The classes of all splits: one that a small split lacks keeps its number.
        places = [root / self.within] if self._in_one else [self._place(root, part) for part in SPLITS]
        folders = in_order([*{folder for one in places if one is not None for folder in _classes_in(one)}])
        called = self._called(root, folders)
        return {folder: called[folder] for folder in folders}

    def _drawn(self, place: Path, files: list[str], split: Split) -> list[str]:
        """Those of a class that are in a split, by `each`. Raises RequestError where there are too few."""
        if not self.each:
            return files
        # By the path as it is on every machine.
        drawn = sorted(files, key=lambda file: fraction_of(Path(file).relative_to(place).as_posix()))
        at = 0
        for part, wanted in self.each.items():
            mine = drawn[at:] if wanted == "rest" else drawn[at : at + wanted]
            if not mine or (wanted != "rest" and len(mine) < wanted):
                where = Path(files[0]).parent if files else place
                raise RequestError(f"{where}: has {len(files)} pictures, too few for {wanted} in {part!r}")
            if part == split:
                return sorted(mine)
            at += len(mine)
        return []

    def _place(self, root: Path, split: Split) -> Path | None:
        for called in self.called(split):
            place = root / self.within / called
            if place.is_dir() and _classes_in(place):
                return place
        return None

    def _called(self, root: Path, folders: list[str]) -> Mapping[str, str]:
        if self.names:
            told = read_json(root / self.names)
            without = next((folder for folder in folders if folder not in told), None)
            if without is not None:
                raise RequestError(f"{root / self.names}: does not name the folder {without!r}")
            return {folder: str(told[folder]) for folder in folders}
        listed = listed_names(root, len(folders))
        if listed:
            return dict(zip(folders, listed, strict=True))
        if all(map(is_synset, folders)):
            return _synset_names(root, folders)
        return {folder: readable(folder) for folder in folders}


def is_synset(folder: str) -> bool:
    """Whether a folder is called by a synset of WordNet, as ImageNet's are."""
    return _SYNSET.fullmatch(folder) is not None


def listed_synsets(root: Path) -> dict[str, str]:
    """The names of synsets that a file in this folder lists; none without such a file. Raises RequestError."""
    found: dict[str, str] = {}
    for file in _SYNSET_FILES:
        if (root / file).is_file():
            for line in read_lines(root / file):
                synset, _, name = line.replace("\t", " ").partition(" ")
                if is_synset(synset) and name.strip():
                    found[synset] = readable(name.split(",")[0])
    return found


def _synset_names(root: Path, folders: list[str]) -> Mapping[str, str]:
    found = listed_synsets(root)
    without = next((folder for folder in folders if folder not in found), None)
    if without is not None:
        raise RequestError(
            f"{root}: nothing says what the class {without} is called: put {_SYNSET_FILES[0]} (synset and name a line) "
            f"or classnames.txt (one name a line, in the order of the folders) there"
        )
    return found


def _classes_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except OSError:
        return []


def _pictures_in(folder: Path) -> Iterator[str]:
    for inside, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(files):
            if not file.startswith(".") and is_image_file(Path(file)):
                yield os.path.join(inside, file)


def read_json(file: Path) -> dict[str, object]:
    """The object in a JSON file. Raises RequestError."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as failure:
        raise RequestError(f"{file}: not a readable JSON file ({failure})") from None
    if not isinstance(told, dict):
        raise RequestError(f"{file}: holds no JSON object")
    return told

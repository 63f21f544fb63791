"""Data sets whose splits lie differently: folders of classes to train on, and a table of the test (GTSRB)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from sightword.data.labelled import Labelled
from sightword.data.readers.base import Reader, Split, listed_names, numbered
from sightword.data.readers.folder import ClassFolders
from sightword.data.readers.table import Table
from sightword.errors import RequestError


class FoldersAndTable(Reader):
    """train: folders of classes that are called by their numbers, from 0 on. test: a table with the same numbers. A
    `classnames.txt` in the data set's folder names both."""

    kind: Literal["folders_and_table"] = "folders_and_table"
    train: ClassFolders
    test: Table

    def has(self, root: Path, split: Split) -> bool:
        return self._of(split).has(root, split)

    def read(self, root: Path, split: Split, name: str) -> Labelled:
        data = self._of(split).read(root, split, name)
        listed = listed_names(root, len(data.classes))
        if listed:
            return replace(data, classes=listed)
        # Folders are counted as they come: without one, all that follow it would be another class.
        numbers = enumerate(data.classes)
        wrong = next((called for number, called in numbers if called.lstrip("0") != f"{number or ''}"), "")
        if wrong:
            raise RequestError(f"{data}: the folder {wrong!r} is out of order: folders are numbers, from 0 on")
        return replace(data, classes=numbered(len(data.classes)))

    def _of(self, split: Split) -> ClassFolders | Table:
        return self.train if split == "train" else self.test

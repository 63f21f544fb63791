"""What the readers of labelled data share: names of splits and classes, and pictures inside other files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sightword.config import Config
from sightword.data.choices import Choices
from sightword.data.composed import Composed
from sightword.data.denials import Denials
from sightword.data.images import InFile
from sightword.data.labelled import Captioned, Labelled
from sightword.data.masked import Masked
from sightword.data.shards import read_members
from sightword.data.stored import StoredImage
from sightword.errors import ImageError, RequestError

Split: TypeAlias = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Data: TypeAlias = Labelled | Captioned | Choices | Composed | Denials | Masked
"""What evaluation measures on."""

_MOST_CLASSES = 1_000_000
# What folders and files of a split are called.
CALLED: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}


class Reader(Config):
    """One way in which data sets lie on a disk.

    unmistakable: the names of its files tell which data set it is. parts: what the splits are called there, where that
    is not `train`, `validation` (`valid`, `val`, `dev`) or `test`; splits that are not named in it are then not there.
    """

    unmistakable: ClassVar[bool] = False
    parts: dict[Split, str] = Field(default_factory=dict)

    def splits(self, root: Path) -> tuple[Split, ...]:
        """The splits that are there, in this layout; none where the folder is laid out otherwise."""
        return tuple(split for split in SPLITS if self.has(root, split))

    @abstractmethod
    def has(self, root: Path, split: Split) -> bool:
        """Whether this split is there, in this layout. Looks at names alone."""

    @abstractmethod
    def read(self, root: Path, split: Split, name: str) -> Data:
        """One of these splits, of the data set `name`. Raises RequestError."""

    def called(self, split: Split) -> tuple[str, ...]:
        """By what names to look for a split."""
        if self.parts:
            return (self.parts[split],) if split in self.parts else ()
        return CALLED[split]


@dataclass(frozen=True, slots=True)
class TarPicture(InFile):
    """A picture that is a member of a tar file. start, length: its bytes there."""

    key: str
    file: str
    start: int
    length: int

    def __str__(self) -> str:
        return f"{self.file}/{self.key}"

    def read(self) -> bytes:
        member = StoredImage(self.key, self.file, self.file, self.start, self.length)
        try:
            (found,) = read_members([member])
        except OSError as failure:
            raise ImageError(str(self), f"its shard could not be read ({failure.strerror})") from None
        if isinstance(found, ImageError):
            raise found
        if len(found) < self.length:
            raise ImageError(str(self), "its shard has become shorter")
        return found


def readable(name: str) -> str:
    """The name of a folder or file as words."""
    return " ".join(name.replace("_", " ").split())


def in_order(names: Sequence[str]) -> list[str]:
    """Sorted; numbers by their value."""
    return sorted(names, key=int) if names and all(name.isdecimal() for name in names) else sorted(names)


def numbered(count: int) -> tuple[str, ...]:
    """The names of classes that have none: their numbers. Raises RequestError for numbers that are no classes."""
    if count > _MOST_CLASSES:
        raise RequestError(f"the label {count - 1} is no number of a class: those count the classes from 0")
    return tuple(map(str, range(count)))


def read_lines(file: Path) -> list[str]:
    """The lines of a text file, without empty ones at its end. Raises RequestError."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise RequestError(f"{file}: no such file") from None
    except (OSError, UnicodeDecodeError) as failure:
        raise RequestError(f"{file}: not a readable text file ({failure})") from None
    while lines and not lines[-1].strip():
        lines.pop()
    return [line.strip() for line in lines]


def listed_names(root: Path, count: int) -> tuple[str, ...]:
    """The names of the classes by the user's own file, `classnames.txt` or `classes.txt`, one a line in their order;
    none where there is no such file. Raises RequestError where it names more or fewer."""
    listed = next((root / file for file in ("classnames.txt", "classes.txt") if (root / file).is_file()), None)
    if listed is None:
        return ()
    lines = read_lines(listed)
    if len(lines) != count:
        raise RequestError(f"{listed}: names {len(lines)} classes, and there are {count}")
    return tuple(lines)


def names_or_numbers(labels: Sequence[str], where: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels as they are written, to int64 [N] and their classes: numbers from 0 on stand for themselves, names are
    sorted. Raises RequestError."""
    if labels and all(label.lstrip("-").isdecimal() for label in labels):
        values = np.array([*map(int, labels)], np.int64)
        if values.min() < 0:
            raise RequestError(f"{where}: has the label {values.min()}; labels that are numbers begin at 0")
        return values, numbered(int(values.max()) + 1)
    classes = tuple(sorted({*labels}))
    place = {name: number for number, name in enumerate(classes)}
    return np.array([place[label] for label in labels], np.int64), classes

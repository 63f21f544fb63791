"""The tests of few-shot segmentation, as HSNet (arXiv 2104.01538) and LSeg (arXiv 2201.03546) lay them out: each
picture is asked for one class of a fold, which is in it, against `others`.

All of them lie in one folder: `VOC2012`, `COCO2014` and `FSS-1000`, with the lists of LSeg's repository
(`fewshot_data/data/splits`) as `splits`. Names are used as they are written there (`diningtable`).
"""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from sightword.data.masked import Masked, MaskedPicture
from sightword.data.readers.base import Reader, Split, read_lines
from sightword.data.readers.masks import check_size, check_there, one_class, open_picture, read_numbers
from sightword.errors import RequestError
from sightword.pickles import Machine, interpret

OTHERS = "others"
_FOLDS = 4
_LISTS: Mapping[Split, str] = {"train": "trn", "validation": "val", "test": "val"}
_VOID = 255  # of VOC's masks: along the borders of things
_EACH = 50  # pictures of a class


class _Folded(Reader):
    """fold: 0 to 3, which classes are tested. classes: all names, in the order of the masks' numbers, from 1 on. The
    pictures to train on are those of the other classes."""

    unmistakable = True
    fold: Literal[0, 1, 2, 3]
    classes: tuple[str, ...]
    folder: ClassVar[str]
    void: ClassVar[tuple[int, ...]] = ()

    def has(self, root: Path, split: Split) -> bool:
        there = (root / self.folder).is_dir() and all(file.is_file() for file in self._lists(root, split))
        return split != "validation" and there

    def read(self, root: Path, split: Split, name: str) -> Masked:
        asked = self._asked(root, split)
        files = [self._files(root, picture) for picture, _ in asked]
        check_there([mask for _, mask in files], "masks")
        wrong = next((number for _, number in asked if not 1 <= number <= len(self.classes)), None)
        if wrong is not None:
            raise RequestError(f"{root}: its lists name the class {wrong}, and there are {len(self.classes)}")
        return Masked(
            name,
            split,
            [
                MaskedPicture(
                    f"{picture}__{number:02}",
                    partial(open_picture, file),
                    (OTHERS, self.classes[number - 1]),
                    partial(one_class, mask, file, number, len(self.classes), self.void),
                )
                for (picture, number), (file, mask) in zip(asked, files, strict=True)
            ],
        )

    @abstractmethod
    def _lists(self, root: Path, split: Split) -> Sequence[Path]:
        """The files that name the pictures of a split."""

    @abstractmethod
    def _asked(self, root: Path, split: Split) -> list[tuple[str, int]]:
        """(picture, the number of the class that it is asked for), of the whole split."""

    @abstractmethod
    def _files(self, root: Path, picture: str) -> tuple[Path, Path]:
        """The files of a picture and of its mask."""


class Pascal5i(_Folded):
    """PASCAL VOC 2012 with the masks of SDS (`SegmentationClassAug`); lists of lines `2007_000033__01`. Fold i tests
    the classes 5i + 1 to 5i + 5."""

    kind: Literal["pascal5i"] = "pascal5i"
    folder: ClassVar[str] = "VOC2012/SegmentationClassAug"
    void: ClassVar[tuple[int, ...]] = (_VOID,)

    def _lists(self, root: Path, split: Split) -> list[Path]:
        folds = [self.fold] if split == "test" else [fold for fold in range(_FOLDS) if fold != self.fold]
        return [root / "splits/pascal" / _LISTS[split] / f"fold{fold}.txt" for fold in folds]

    def _asked(self, root: Path, split: Split) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        for file in self._lists(root, split):
            for number, line in enumerate(read_lines(file), start=1):
                told = re.fullmatch(r"(\w+?)__(\d+)", line)
                if told is None:
                    raise RequestError(f"{file}: line {number} is not as in the original list: {line!r}")
                found.append((told[1], int(told[2])))
        return found

    def _files(self, root: Path, picture: str) -> tuple[Path, Path]:
        return root / f"VOC2012/JPEGImages/{picture}.jpg", root / self.folder / f"{picture}.png"


class Coco20i(_Folded):
    """COCO 2014; lists are pickles (read as data) of the pictures of each class. Fold i tests the classes i + 1, i + 5,
    …, with 50 pictures of each, by a hash of their names: as many as the 1,000 episodes, in which class and picture are
    drawn at random. To train on: all of them."""

    kind: Literal["coco20i"] = "coco20i"
    folder: ClassVar[str] = "COCO2014/annotations"

    def _lists(self, root: Path, split: Split) -> list[Path]:
        return [root / "splits/coco" / _LISTS[split] / f"fold{self.fold}.pkl"]

    def _asked(self, root: Path, split: Split) -> list[tuple[str, int]]:
        (file,) = self._lists(root, split)
        pictures_of = _listed(file)
        found: list[tuple[str, int]] = []
        for place in range(len(self.classes)):
            if (place % _FOLDS == self.fold) == (split == "test"):
                pictures = sorted(set(pictures_of.get(place, ())), key=_hash)
                found += [(picture, place + 1) for picture in (pictures[:_EACH] if split == "test" else pictures)]
        return found

    def _files(self, root: Path, picture: str) -> tuple[Path, Path]:
        return root / "COCO2014" / picture, (root / self.folder / picture).with_suffix(".png")


class Fss1000(Reader):
    """A folder for each of the 1,000 classes, with pictures `1.jpg` and masks `1.png`, in which the thing is white;
    lists of folders."""

    unmistakable = True
    kind: Literal["fss1000"] = "fss1000"

    def has(self, root: Path, split: Split) -> bool:
        return self._list(root, split).is_file() and (root / "FSS-1000").is_dir()

    def read(self, root: Path, split: Split, name: str) -> Masked:
        classes = sorted(read_lines(self._list(root, split)))
        pictures = [file for one in classes for file in sorted((root / "FSS-1000" / one).glob("*.jpg"), key=_number)]
        without = {*classes} - {file.parent.name for file in pictures}
        if without:
            raise RequestError(f"{root / 'FSS-1000' / min(without)}: holds no pictures (*.jpg)")
        check_there([file.with_suffix(".png") for file in pictures], "masks")
        return Masked(
            name,
            split,
            [
                MaskedPicture(
                    f"{file.parent.name}/{file.stem}",
                    partial(open_picture, file),
                    (OTHERS, file.parent.name.replace("_", " ")),
                    partial(_white, file),
                )
                for file in pictures
            ],
        )

    def _list(self, root: Path, split: Split) -> Path:
        called = {"train": "trn", "validation": "val", "test": "test"}[split]
        return root / "splits/fss" / f"{called}.txt"


def _white(picture: Path) -> NDArray[np.int16]:
    mask = picture.with_suffix(".png")
    grey_HW = read_numbers(mask, grey=True)
    check_size(grey_HW, mask, picture)
    return (grey_HW >= 128).astype(np.int16)


def _number(file: Path) -> tuple[int, str]:
    return int(file.stem) if file.stem.isdecimal() else 0, file.stem


def _hash(picture: str) -> str:
    return hashlib.sha256(picture.encode()).hexdigest()


def _listed(file: Path) -> Mapping[int, Sequence[str]]:
    """By the place of each class, its pictures (`val2014/COCO_val2014_….jpg`)."""
    try:
        found = interpret(file.read_bytes(), Machine())
    except (OSError, ValueError) as failure:
        raise RequestError(f"{file}: is no list of pictures that can be read ({failure})") from None
    whole = isinstance(found, dict) and all(
        isinstance(place, int) and isinstance(pictures, list) and all(isinstance(one, str) for one in pictures)
        for place, pictures in found.items()
    )
    if not whole:
        raise RequestError(f"{file}: holds something else than the pictures of each class")
    return dict(found)

"""Archives whose pictures are plain arrays: MNIST's IDX, the binary versions of CIFAR and of STL-10."""

from __future__ import annotations

import gzip
import zlib
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sightword.data.labelled import Labelled
from sightword.data.readers.base import Reader, Split, numbered, read_lines, readable
from sightword.errors import RequestError

Pixels: TypeAlias = NDArray[np.uint8]
_LARGEST = 1 << 31  # bytes that a packed file may hold


class Idx(Reader):
    """`train-images-idx3-ubyte`, `t10k-labels-idx1-ubyte` and their like, with `.gz` or without, in the folder itself
    or in `raw`. EMNIST and others lie so too."""

    kind: Literal["idx"] = "idx"
    parts: dict[Split, str] = Field(default={"train": "train", "test": "t10k"})

    def has(self, root: Path, split: Split) -> bool:
        return split in self.parts and _idx_file(root, self.parts[split], "images", 3) is not None

    def read(self, root: Path, split: Split, name: str) -> Labelled:
        found = [_idx_file(root, self.parts.get(split, split), *what) for what in (("images", 3), ("labels", 1))]
        images, labels = found
        if images is None or labels is None:
            raise RequestError(f"{root}: has no idx files of the split {split!r}")
        pixels, numbers = _read_idx(images, 3), _read_idx(labels, 1).astype(np.int64)
        return arrays(name, split, pixels, numbers, numbered(int(numbers.max(initial=-1)) + 1))


class CifarBatches(Reader):
    """What the versions of CIFAR have in common: CIFAR-10 trains on five batches, CIFAR-100 on one.

    classes: 10 or 100; of CIFAR-100, the fine labels are taken. folders: of either. ending: of a batch.
    """

    unmistakable = True
    folders: ClassVar[dict[int, str]]
    ending: ClassVar[str]
    classes: Literal[10, 100]

    def has(self, root: Path, split: Split) -> bool:
        return bool(self._files(root, split))

    def read(self, root: Path, split: Split, name: str) -> Labelled:
        files = self._files(root, split)
        if not files:
            raise RequestError(f"{root}: has no batches of the split {split!r} in {self.folders[self.classes]}")
        pixels, labels, classes = self._opened(files)
        return arrays(name, split, pixels, labels, classes)

    @abstractmethod
    def _opened(self, files: list[Path]) -> tuple[Pixels, NDArray[np.int64], tuple[str, ...]]:
        """Pictures [N, 32, 32, 3], labels [N] and the names of the classes."""

    def _files(self, root: Path, split: Split) -> list[Path]:
        """All batches of a split; none where one is missing."""
        batches: list[str] = [split]
        if self.classes == 10:
            batches = [f"data_batch_{number}" for number in range(1, 6)] if split == "train" else [f"{split}_batch"]
        files = [root / self.folders[self.classes] / f"{batch}{self.ending}" for batch in batches]
        return files if all(file.is_file() for file in files) else []


class Cifar(CifarBatches):
    """The binary versions: `cifar-10-batches-bin` and `cifar-100-binary`."""

    kind: Literal["cifar"] = "cifar"
    folders: ClassVar[dict[int, str]] = {10: "cifar-10-batches-bin", 100: "cifar-100-binary"}
    ending = ".bin"

    def _opened(self, files: list[Path]) -> tuple[Pixels, NDArray[np.int64], tuple[str, ...]]:
        head = 2 if self.classes == 100 else 1  # CIFAR-100 has a coarse label first
        names = files[0].parent / ("fine_label_names.txt" if self.classes == 100 else "batches.meta.txt")
        classes = tuple(readable(line) for line in read_lines(names) if line)
        rows = np.concatenate([_records(file, head + 3072) for file in files])
        pixels = rows[:, head:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return pixels, rows[:, head - 1].astype(np.int64), classes


class Stl10(Reader):
    """`stl10_binary`: `train_X.bin`, `train_y.bin`, `class_names.txt`."""

    unmistakable = True
    kind: Literal["stl10"] = "stl10"
    within: str = "stl10_binary"

    def has(self, root: Path, split: Split) -> bool:
        return (root / self.within / f"{split}_X.bin").is_file()

    def read(self, root: Path, split: Split, name: str) -> Labelled:
        folder = root / self.within
        rows = _records(folder / f"{split}_X.bin", 3 * 96 * 96)
        labels = _records(folder / f"{split}_y.bin", 1)[:, 0].astype(np.int64) - 1  # they begin at 1
        classes = tuple(readable(line) for line in read_lines(folder / "class_names.txt") if line)
        # Each channel is stored column by column.
        return arrays(name, split, rows.reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1), labels, classes)


def arrays(name: str, split: str, pixels: Pixels, labels: NDArray[np.int64], classes: Sequence[str]) -> Labelled:
    """Pictures [N, H, W] or [N, H, W, 3], called by their numbers."""
    return Labelled(name, split, [*pixels], labels, tuple(classes), [*map(str, range(len(pixels)))])


def _records(file: Path, size: int) -> Pixels:
    """The file as rows of `size` bytes, mapped. Raises RequestError."""
    try:
        length = file.stat().st_size
        if not length or length % size:
            raise RequestError(f"{file}: is damaged or cut short: {length:,} bytes are no whole records of {size:,}")
        return np.memmap(file, np.uint8, "r").reshape(-1, size)
    except OSError as failure:
        raise RequestError(f"{file}: not readable ({failure.strerror or failure})") from None


def _idx_file(root: Path, part: str, what: str, axes: int) -> Path | None:
    for folder in (root, root / "raw", root / "MNIST" / "raw"):
        for name in (f"{part}-{what}-idx{axes}-ubyte", f"{part}-{what}.idx{axes}-ubyte"):
            for file in (folder / name, folder / f"{name}.gz"):
                if file.is_file():
                    return file
    return None


def unpacked(file: Path) -> bytes:
    """The bytes of a file, unpacked where it is gzip. Raises RequestError."""
    try:
        with file.open("rb") as opened:
            packed = opened.read(2) == b"\x1f\x8b"
        with gzip.open(file) if packed else file.open("rb") as opened:
            data: bytes = opened.read(_LARGEST + 1)
    except (OSError, EOFError, zlib.error) as failure:
        raise RequestError(f"{file}: is damaged or not readable ({failure})") from None
    if len(data) > _LARGEST:
        raise RequestError(f"{file}: unpacks to more than {_LARGEST:,} bytes")
    return data


def _read_idx(file: Path, axes: int) -> NDArray[Any]:
    data = unpacked(file)
    head = 4 + 4 * axes
    if data[:4] != bytes([0, 0, 8, axes]) or len(data) < head:
        raise RequestError(f"{file}: is no idx file of bytes with {axes} axes")
    shape = np.frombuffer(data, ">u4", axes, 4).tolist()
    if len(data) != head + int(np.prod(shape)):
        raise RequestError(f"{file}: is damaged or cut short: it promises {shape} and holds {len(data) - head} bytes")
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)

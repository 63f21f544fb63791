"""Data sets with files of MATLAB's version 5, of which arrays of numbers are read ("MAT-File Level 5 File Format",
MathWorks)."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sightword.data.labelled import Labelled
from sightword.data.readers.arrays import arrays
from sightword.data.readers.base import SPLITS, Reader, Split, listed_names, numbered
from sightword.errors import RequestError

_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_LARGEST = 1 << 31  # bytes of one array; SVHN's largest file unpacks to 1.6 GB


class Svhn(Reader):
    """`train_32x32.mat` and `test_32x32.mat`. X: uint8 [32, 32, 3, N]; y: [N, 1], of which 10 is the digit 0."""

    unmistakable = True
    kind: Literal["svhn"] = "svhn"

    def splits(self, root: Path) -> tuple[Split, ...]:
        return tuple(split for split in SPLITS if (root / f"{split}_32x32.mat").is_file())

    def read(self, root: Path, split: Split, name: str) -> Labelled:
        file = root / f"{split}_32x32.mat"
        found = read_mat(file)
        pixels, labels = found.get("X"), found.get("y")
        if pixels is None or labels is None or pixels.ndim != 4 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise RequestError(f"{file}: has no pictures X [H, W, 3, N] with labels y")
        numbers = labels.reshape(-1).astype(np.int64) % 10
        return arrays(name, split, pixels.transpose(3, 0, 1, 2), numbers, numbered(10))


class Flowers(Reader):
    """`imagelabels.mat`, `setid.mat` and the folder `jpg` of Oxford's flowers. They have no names but for those that a
    `classnames.txt` gives them."""

    unmistakable = True
    kind: Literal["flowers"] = "flowers"
    parts: dict[Split, str] = Field(default={"train": "trnid", "validation": "valid", "test": "tstid"})

    def splits(self, root: Path) -> tuple[Split, ...]:
        whole = all((root / name).exists() for name in ("setid.mat", "imagelabels.mat", "jpg"))
        return tuple(self.parts) if whole else ()

    def read(self, root: Path, split: Split, name: str) -> Labelled:
        numbers = _vector(root / "setid.mat", self.parts.get(split, split))
        labels = _vector(root / "imagelabels.mat", "labels")
        if len(numbers) and (numbers.min() < 1 or numbers.max() > len(labels)):
            raise RequestError(f"{root / 'setid.mat'}: names picture {numbers.max()}, and {len(labels)} have labels")
        keys = [f"image_{number:05}.jpg" for number in numbers]
        classes = numbered(int(labels.max(initial=0)))
        return Labelled(
            name,
            split,
            [str(root / "jpg" / key) for key in keys],
            labels[numbers - 1] - 1,  # pictures and classes are counted from 1
            listed_names(root, len(classes)) or classes,
            keys,
        )


def _vector(file: Path, name: str) -> NDArray[np.int64]:
    found = read_mat(file).get(name)
    if found is None:
        raise RequestError(f"{file}: has no array {name!r}")
    return found.reshape(-1).astype(np.int64)


def read_mat(file: Path) -> dict[str, NDArray[Any]]:
    """The arrays of numbers in a file, by name. Raises RequestError."""
    try:
        data = file.read_bytes()
    except OSError as failure:
        raise RequestError(f"{file}: not readable ({failure.strerror or failure})") from None
    if len(data) < 128 or data[124:128] != b"\x00\x01IM":
        raise RequestError(f"{file}: is no MATLAB file of version 5 (save it with `-v7`), or big-endian")
    found: dict[str, NDArray[Any]] = {}
    at = 128
    try:
        while at + 8 <= len(data):
            kind, size = struct.unpack_from("<II", data, at)
            if at + 8 + size > len(data):
                raise ValueError("cut short")
            body = data[at + 8 : at + 8 + size]
            at += 8 + size
            if kind == _COMPRESSED:
                opened = zlib.decompressobj()
                body = opened.decompress(body, _LARGEST)
                kind = struct.unpack_from("<I", body)[0]
                body = body[8:]
            if kind == _MATRIX:
                read = _matrix(body)
                if read is not None:
                    found[read[0]] = read[1]
    except (struct.error, zlib.error, ValueError, IndexError) as failure:
        raise RequestError(f"{file}: is damaged or cut short ({failure})") from None
    return found


def _matrix(body: bytes) -> tuple[str, NDArray[Any]] | None:
    """Name and values; None for what is no plain array of real numbers."""
    flags, at = _element(body, 0)
    shape, at = _element(body, at)
    name, at = _element(body, at)
    if not 6 <= flags[0] & 0xFF <= 15 or flags[0] & 0x0800:
        return None
    values, _ = _element(body, at)
    return bytes(name.tobytes()).decode("ascii", "replace"), values.reshape(shape.tolist(), order="F")


def _element(body: bytes, at: int) -> tuple[NDArray[Any], int]:
    """The values of an element, and where the next one begins."""
    kind, size = struct.unpack_from("<II", body, at)
    start = at + 8
    if kind >> 16:  # up to four bytes lie in the element's own head
        kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
    if kind not in _NUMBERS or start + size > len(body):
        raise ValueError("an array is cut short, or of an unknown type")
    values = np.frombuffer(body, f"<{_NUMBERS[kind]}", size // int(_NUMBERS[kind][1]), start)
    end = start + size
    return values, max(end + -end % 8, at + 8)

"""Vectors of all pictures or texts of a training, made once and kept in files of some thousand rows each.

A part appears whole: one that is there is not made again, so an interrupted run goes on where it was. They are read as
mapped files.

Shapes: N pictures or texts, E their dimensions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sightword.data.pairs import Source
from sightword.embedding.embedder import Embedder
from sightword.errors import ImageError
from sightword.files import make_folder, whole_file

_PART = 4096  # rows of a file

Vectors = NDArray[np.floating[Any]]


class KeptVectors:
    """The rows of some files, [N, E] each. A row of zeros is of a picture that could not be read."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.parts: list[Vectors] = [np.load(file, mmap_mode="r") for file in files]

    def rows(self, places: Sequence[int]) -> Tensor:
        """float32, of unit length again."""
        dim = self.parts[0].shape[1]
        rows = [self.parts[place // _PART][place % _PART] for place in places]
        return F.normalize(torch.from_numpy(np.array(rows, np.float32).reshape(-1, dim)), dim=-1)

    def empty(self) -> frozenset[int]:
        """The places of rows of zeros."""
        found = [number * _PART + np.flatnonzero(~part.any(axis=1)) for number, part in enumerate(self.parts)]
        return frozenset(np.concatenate(found).tolist())

    def gram(self) -> NDArray[np.float64]:
        """The sum over all rows of each with itself, [E, E]."""
        dim = self.parts[0].shape[1]
        total = np.zeros((dim, dim))
        for part in self.parts:
            rows = part.astype(np.float64)
            total += rows.T @ rows
        return total


def keep_vectors(folder: Path, name: str, count: int, make: Callable[[range], Vectors]) -> KeptVectors:
    """Those in `folder`, made where they are not there yet. make: gives the rows of some places. Raises SightwordError
    where the disk is full."""
    files = []
    for number, first in enumerate(range(0, count, _PART)):
        file = folder / f"{name}-{number:05}.npy"
        if not file.exists():
            write_array(file, make(range(first, min(first + _PART, count))))
        files.append(file)
    return KeptVectors(files)


def folder_of(where: Path, words: Iterable[str | bytes]) -> Path:
    """The folder in `where` that is named after all of these words."""
    digest = hashlib.sha256()
    for word in words:
        digest.update((word.encode("utf-8", "surrogatepass") if isinstance(word, str) else word) + b"\0")
    folder = where / digest.hexdigest()[:16]
    make_folder(folder)
    return folder


def write_array(file: Path, array: NDArray[Any]) -> None:
    with whole_file(file) as temporary, temporary.open("wb") as out:
        np.save(out, array)


def see(embedder: Embedder, source: Source, places: range, dtype: type[np.floating[Any]]) -> Vectors:
    """The pictures of some pairs, as the embedder's contract prepares them."""
    unread: dict[int, ImageError] = {}
    vectors = embedder.embed_images((source[place].image for place in places), skipped=unread)
    rows = np.zeros((len(places), embedder.dim), dtype)
    rows[[row for row in range(len(places)) if row not in unread]] = vectors
    return rows

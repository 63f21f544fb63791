"""Pairs in shards: WebDataset tar files and Parquet tables with bytes, here or elsewhere, as a source of any size.

A picture of a tar on disk is one read at its place, from any thread. What is elsewhere, and tables, are read in blocks
(a shard, or some row groups), each once an epoch: a block is copied to a temporary file ($TMPDIR), and the copies of
three windows of the order are held (of each of its lanes from which is drawn here).
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from sightword.data.companions import own_texts
from sightword.data.copies import Copy, Kept
from sightword.data.images import InFile
from sightword.data.index import ENDINGS, ShardIndex, labels_of, local_copy, open_index
from sightword.data.pairs import Pair, Skipped, digest_of
from sightword.data.places import Place, find_places, remove_dead_copies
from sightword.data.stored import StoredImage, printable
from sightword.data.tables import read_rows
from sightword.errors import ImageError, RequestError

_OPEN = 128  # files
_HELD = 6  # copies of blocks, until it is told how many are in use at once


@dataclass(frozen=True, slots=True)
class ShardImage(InFile):
    """A picture by its number in a source."""

    source: ShardedPairs
    index: int

    def __str__(self) -> str:
        return self.source.key_of(self.index)

    def read(self) -> bytes:
        return self.source.read(self.index)


class ShardedPairs:
    """A `Source`. The key of a pair is `SHARD/KEY`.

    shards: where they are, with their indexes. classes: the names that labels which are numbers stand for. Without
    them, such labels are passed over; with them, a pair without a text has its name for one.
    """

    def __init__(
        self,
        shards: Sequence[tuple[Place, ShardIndex]],
        skipped: Sequence[Skipped] = (),
        classes: Sequence[str] = (),
    ) -> None:
        self.places = [place for place, _ in shards]
        self.names = _names(self.places)
        self.indexes = [index for _, index in shards]
        self.classes = tuple(classes)
        self.skipped = tuple(skipped)
        self._ends = np.array([len(index) for index in self.indexes], np.int64).cumsum()
        self._files = Kept(self._open, _OPEN)
        # Where every shard is a tar on disk, there are no blocks.
        whole = all(map(_direct, self.places))
        groups = [_groups(place, index) for place, index in shards]
        self._first = np.array([0, *map(len, groups)], np.int64).cumsum()  # block of each shard
        sizes = np.concatenate(groups)
        self.blocks: NDArray[np.int64] | None = None if whole else sizes
        self._sizes, self._block_ends = sizes, sizes.cumsum()
        self._copies = Kept(self._copy, _HELD)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int, /) -> Pair:
        shard, row = self._place(index)
        key, text, label = self.indexes[shard].text_of(row)
        if label.isdecimal():
            label = self.classes[int(label)] if self.classes else ""
        companions = self.indexes[shard].companions_of(row)
        image, name = ShardImage(self, index), f"{self.names[shard]}/{key}"
        return Pair(image, own_texts(text or label, companions), name, label, companions=companions)

    def __iter__(self) -> Iterator[Pair]:
        return map(self.__getitem__, range(len(self)))

    @cached_property
    def fingerprint(self) -> bytes:
        shards = zip(self.names, self.indexes, strict=True)
        return digest_of(f"{name} {index.fingerprint.hex()}" for name, index in shards)

    def keys(self) -> Iterator[str]:
        for name, index in zip(self.names, self.indexes, strict=True):
            keys = index.keys()
            yield from (f"{name}/{key}" for key in keys)

    def key_of(self, index: int) -> str:
        return self[index].key

    def expect(self, blocks: Sequence[int], held: int) -> None:
        self._copies.hold(held)
        wanted = [block for block in blocks if not _direct(self.places[self._shard_of(block)])]

        def fetch() -> None:
            for block in wanted:
                with suppress(Exception):  # it is for those who want the block
                    self._copies(block)

        if wanted:
            threading.Thread(target=fetch, name="fetch", daemon=True).start()

    def read(self, index: int) -> bytes:
        """The bytes of a picture. Raises ImageError."""
        shard, row = self._place(index)
        try:
            if _direct(self.places[shard]):
                found = self.indexes[shard]
                data = os.pread(self._files(shard).fileno(), int(found.sizes[row]), int(found.starts[row]))
                if len(data) < found.sizes[row]:
                    raise OSError("the shard has become shorter")
                return data
            block = int(np.searchsorted(self._block_ends, index, side="right"))
            copy = self._copies(block)
            number = index - int(self._block_ends[block - 1] if block else 0)
            if number in copy.faults:
                raise ImageError(self.key_of(index), copy.faults[number])
            return copy.read(number)
        except (OSError, RequestError) as failure:
            if isinstance(failure, ImageError):
                raise
            raise ImageError(self.key_of(index), f"its shard could not be read ({failure})") from None

    def _place(self, index: int) -> tuple[int, int]:
        """The number of its shard, and its row there."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        shard = int(np.searchsorted(self._ends, index, side="right"))
        return shard, index - int(self._ends[shard - 1] if shard else 0)

    def _shard_of(self, block: int) -> int:
        return int(np.searchsorted(self._first, block, side="right")) - 1

    def _open(self, shard: int) -> BinaryIO:
        path = self.places[shard].path
        assert path is not None
        self._check(shard, self.places[shard].stamp())
        return path.open("rb")

    def _check(self, shard: int, found: tuple[int | None, str]) -> None:
        known = self.indexes[shard].shard
        if found != known:
            raise OSError("it has changed since the run began")

    def _copy(self, block: int) -> Copy:
        """A block of pictures in a temporary file."""
        shard = self._shard_of(block)
        place, index = self.places[shard], self.indexes[shard]
        self._check(shard, place.stamp())
        with local_copy(place) as path:
            if not place.name.lower().endswith(".parquet"):
                return Copy(path.open("rb"), index.starts, index.sizes, {})
            end = int(self._block_ends[block] - (self._ends[shard - 1] if shard else 0))
            return _copy_rows(path, index, range(end - int(self._sizes[block]), end))


def _copy_rows(path: Path, index: ShardIndex, rows: range) -> Copy:
    """The bytes of pictures of a table, in a temporary file."""
    wanted = (StoredImage(str(row), "", str(path), start=int(index.starts[row])) for row in rows)
    file = tempfile.TemporaryFile()  # noqa: SIM115  # it is closed when the copy goes
    sizes = np.zeros(len(rows), np.int64)
    faults: dict[int, str] = {}
    for number, found in enumerate(read_rows(wanted, None)):
        if isinstance(found, bytes):
            sizes[number] = file.write(found)
        else:
            faults[number] = found.reason if isinstance(found, ImageError) else "is a path, and only bytes are read"
    file.flush()
    return Copy(file, sizes.cumsum() - sizes, sizes, faults)


def _names(places: Sequence[Place]) -> list[str]:
    """Their paths inside the folder that holds them all, so that they stay when it is moved."""
    folders = [place.url.split("/")[:-1] for place in places]
    common = 0
    while folders and all(len(folder) > common and folder[common] == folders[0][common] for folder in folders):
        common += 1
    return [printable("/".join(place.url.split("/")[common:])) for place in places]


def _direct(place: Place) -> bool:
    return place.path is not None and not place.name.lower().endswith(".parquet")


def _groups(place: Place, index: ShardIndex) -> NDArray[np.int64]:
    # To read a part of a file that is elsewhere, the whole is fetched.
    return index.groups if place.path is not None else np.array([len(index)], np.int64)


def open_shards(paths: Sequence[str], classes: Sequence[str] = ()) -> ShardedPairs:
    """The pairs of shards: files, folders, patterns and expressions with braces, here or elsewhere (`find_places`).

    An index is made for each where there is none yet. A shard that is not there, or is none, is named in `.skipped`.
    Raises RequestError where nothing remains, or where labels are numbers that stand for nothing.
    """
    places = find_places(paths, ENDINGS)
    if any(place.path is None for place in places):
        remove_dead_copies()
    shards: list[tuple[Place, ShardIndex]] = []
    skipped: list[Skipped] = []
    # Threads, because most of the time of a new index is spent waiting for a disk or a network.
    with ThreadPoolExecutor(max_workers=min(8, 2 * (os.cpu_count() or 1))) as pool:
        for place, found in zip(places, pool.map(_opened, places), strict=True):
            if isinstance(found, ShardIndex):
                shards.append((place, found))
                skipped += [Skipped(f"{printable(place.name)}/{skip.key}", skip.reason) for skip in found.skipped]
            else:
                skipped.append(found)
    if not sum(len(index) for _, index in shards):
        first = f" ({len(skipped)} skipped, the first: {skipped[0].key}: {skipped[0].reason})" if skipped else ""
        raise RequestError(f"{', '.join(paths)}: no image-text pairs in {len(places)} shards{first}")
    made = ShardedPairs(shards, skipped, classes)
    _check_labels(made, ", ".join(paths))
    return made


def _check_labels(source: ShardedPairs, where: str) -> None:
    numbers = [int(label) for label in labels_of(source.indexes) if label.isdecimal()]
    if source.classes and max(numbers, default=0) >= len(source.classes):
        raise RequestError(f"{where}: has the label {max(numbers)}, and `classes` names only {len(source.classes)}")
    if not source.classes and numbers and any(index.has_bare_numbers for index in source.indexes):
        raise RequestError(
            f"{where}: has pictures without a text whose labels are numbers: name a file with the names of the "
            "classes, one a line (`classes` of a source in data.sources)"
        )


def _opened(place: Place) -> ShardIndex | Skipped:
    try:
        return open_index(place)
    except FileNotFoundError:
        return Skipped(printable(str(place)), "no such shard")
    except (OSError, RequestError) as failure:
        reason = str(failure).removeprefix(f"{place.name}: ")
        return Skipped(printable(str(place)), f"the shard could not be read ({reason})")

"""Every image of folders, tables and shards, in an order that depends on names alone; and reading what was listed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from sightword.data.pairs import is_image_file
from sightword.data.shards import list_members, read_members
from sightword.data.stored import StoredImage, printable, stamp_of
from sightword.data.tables import list_rows, read_rows
from sightword.errors import ImageError, RequestError

VECTORS = "embed.json"  # in a folder that `embed` wrote


@dataclass
class Listing:
    """The images of `sources`, one after the other, as they are found.

    A source is a folder (at any depth: image files, WebDataset shards `.tar`, Parquet tables with bytes of images), one
    such file, or a Parquet table of paths. Hidden files and folders are passed over. Links are followed, and no folder
    is entered twice; one that `embed` wrote is passed over. What cannot be listed is given too, with its reason.

    image_column: of tables; in shards, the extension of the image.
    Raises RequestError for a source that is not there, or named itself and of no use.
    """

    sources: Sequence[Path]
    image_column: str | None = None
    key_column: str | None = None
    _entered: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]], init=False)

    def __iter__(self) -> Iterator[StoredImage]:
        self._entered = set()
        for source in self.sources:
            if source.is_dir():
                yield from self._folder(source)
            elif not source.exists():
                raise RequestError(f"{source}: no such file or folder")
            else:
                found = self._inside(source, printable(str(source)))
                yield from found or (StoredImage(printable(source.name), printable(str(source)), str(source)),)

    def _folder(self, root: Path) -> Iterator[StoredImage]:
        source = printable(str(root))
        # A stack instead of recursion: folders may be deeper than Python's.
        stack = [iter([("", True)])]
        while stack:
            place, is_folder = next(stack[-1], (None, False))
            if place is None:
                stack.pop()
                continue
            path = root / place
            try:
                if is_folder:
                    if self._enter(path):
                        stack.append(iter(_entries(path, place)))
                else:
                    yield from self._file(path, place, source)
            except (OSError, RequestError) as failure:
                reason = failure.strerror or str(failure) if isinstance(failure, OSError) else str(failure)
                yield StoredImage(printable(place or "."), source, str(path), reason=reason.removeprefix(f"{path}: "))

    def _file(self, path: Path, place: str, source: str) -> Iterable[StoredImage]:
        compressed = ".tar." in path.name.lower() or path.suffix.lower() == ".tgz"
        if not (compressed or is_image_file(path) or path.suffix.lower() in (".tar", ".parquet")):
            return ()
        if not path.is_file():
            raise RequestError("is a broken link, or no plain file")  # a pipe would be waited for without end
        found = self._inside(path, printable(str(path)), paths=False)
        return found or (StoredImage(printable(place), source, str(path)),)

    def _inside(self, path: Path, source: str, paths: bool = True) -> Iterator[StoredImage] | None:
        """The images of a table or a shard; None for any other file."""
        if path.suffix.lower() == ".parquet":
            return list_rows(path, source, self.image_column, self.key_column, paths)
        if path.suffix.lower() == ".tar":
            return list_members(path, source, self.image_column)
        if ".tar." in path.name.lower() or path.suffix.lower() == ".tgz":
            raise RequestError(f"{path}: a compressed shard; its members can be reached only when it is a plain .tar")
        return None

    def _enter(self, folder: Path) -> bool:
        """Whether it is entered for the first time."""
        status = folder.stat()
        place = status.st_dev, status.st_ino
        new = place not in self._entered
        self._entered.add(place)
        return new


def _entries(folder: Path, place: str) -> list[tuple[str, bool]]:
    """What is in a folder, sorted by name: (path inside the source, whether it is a folder)."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                is_folder = entry.is_dir()
            except OSError:  # links in a circle
                is_folder = False
            found.append((f"{place}/{entry.name}" if place else entry.name, is_folder))
    written = any(path.rpartition("/")[2] == VECTORS for path, _ in found)
    return [] if written else sorted(found)


def read_listed(images: Iterable[StoredImage], image_column: str | None = None) -> Iterator[str | bytes | ImageError]:
    """For each a path or the bytes of an image file, or why there is none. Tables and shards are read as a stream."""
    for (file, kind), group in groupby(images, key=_where):
        if kind == "file":
            for image in group:
                yield ImageError(image.key, image.reason) if image.reason else image.file
            continue
        members = list(group)
        done = 0
        try:
            if stamp_of(file) != members[0].stamp:
                raise RequestError(f"{file} has changed since it was listed")
            for outcome in read_members(members) if kind == "member" else read_rows(members, image_column):
                yield outcome
                done += 1
        except (OSError, RequestError) as failure:
            for image in members[done:]:
                yield ImageError(image.key, f"could not be read ({failure})")


def _where(image: StoredImage) -> tuple[str, str]:
    """Neighbours of one answer are read together."""
    if image.reason or image.start is None:
        return "", "file"
    return image.file, "row" if image.size is None else "member"

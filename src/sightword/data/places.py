"""Where files are: folders, patterns and lists of them, on this machine and elsewhere (through fsspec).

A place elsewhere is a URL (`s3://…`, `gs://…`, `https://…`, `memory://…`). fsspec is imported for those alone; it names
the package that a kind of place needs beside it.
"""

from __future__ import annotations

import glob
import os
import re
import stat
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightword.errors import RequestError

_BRACES = re.compile(r"\{([^{}]*(?:,|\.\.)[^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_PATTERN = re.compile(r"[*?\[]")
_COPY = "sightword-copy-"
_OLD = 60.0  # seconds; a younger file may be about to be locked
_MOST = 1_000_000  # files that one expression may stand for


@dataclass(frozen=True, slots=True)
class Place:
    """A file by its path or URL. It need not be there."""

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def path(self) -> Path | None:
        """None for what is elsewhere."""
        return None if "://" in self.url else Path(self.url)

    def beside(self, suffix: str) -> Place:
        return Place(self.url + suffix)

    def stamp(self) -> tuple[int | None, str]:
        """The size in bytes, where that is told, and what changes when the file does. Raises OSError."""
        if self.path is not None:
            status = os.stat(self.path)
            return status.st_size, str(status.st_mtime_ns)
        found = _elsewhere(self.url, lambda files, path: files.info(path))
        told = (found.get(name) for name in ("ETag", "etag", "mtime", "LastModified", "updated", "created"))
        return found.get("size"), str(next((stamp for stamp in told if stamp), ""))

    def fetch(self, to: Path) -> None:
        """Copy it to a local file, from beginning to end. Raises OSError."""
        _elsewhere(self.url, lambda files, path: files.get_file(path, str(to)))


def find_places(names: Sequence[str], endings: Sequence[str]) -> list[Place]:
    """The files that these stand for: each a file, a folder (the files in it with one of the endings, at any depth), a
    pattern (`*`, `?`, `[…]`), or one with braces (`{00000..00099}`, `{a,b}`); sorted within each, none twice.

    Files that are named need not be there. Raises RequestError for a folder or pattern that holds nothing.
    """
    found: dict[Place, None] = {}
    for name in names:
        for expanded in expand_braces(name):
            found |= dict.fromkeys(_find(expanded.removeprefix("file://"), endings))
    return [*found]


def expand_braces(name: str) -> Iterator[str]:
    """`a-{08..10}.tar` is `a-08.tar`, `a-09.tar` and `a-10.tar`; `{a,b}.tar` is `a.tar` and `b.tar`."""
    braces = _BRACES.search(name)
    if braces is None:
        yield name
        return
    inside = braces[1]
    span = _RANGE.fullmatch(inside)
    parts: Iterable[str] = inside.split(",")
    if span is not None:
        first, last = int(span[1]), int(span[2])
        if not 0 <= last - first < _MOST:
            raise RequestError(f"{name}: {{{inside}}} counts upwards, to at most {_MOST:,} files")
        parts = (str(number).zfill(len(span[1])) for number in range(first, last + 1))
    for part in parts:
        yield from expand_braces(name[: braces.start()] + part + name[braces.end() :])


@contextmanager
def temporary_file() -> Generator[Path, None, None]:
    """An empty file in the folder for temporary ones ($TMPDIR), which is removed in the end. It is locked as long as
    its maker lives, so that others can tell what a process has left that was killed."""
    import fcntl

    handle, name = tempfile.mkstemp(prefix=_COPY)
    try:
        with suppress(OSError):  # some network file systems know no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
        os.close(handle)


def remove_dead_copies() -> None:
    """Remove the temporary files whose makers were killed: those of this user that nobody has locked, and nobody has
    written to for a minute. What cannot be told stays."""
    import fcntl

    for path in Path(tempfile.gettempdir()).glob(f"{_COPY}*"):
        with suppress(OSError):
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid() or time.time() < status.st_mtime + _OLD:
                continue
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def _find(name: str, endings: Sequence[str]) -> list[Place]:
    remote = "://" in name
    if _PATTERN.search(name) and not (not remote and os.path.exists(name)):
        found = _remote_files(name, pattern=True) if remote else glob.glob(name, recursive=True)
        what = f"{name}: no file fits this pattern"
    elif remote and not name.lower().endswith(tuple(endings)):
        found = _remote_files(name, pattern=False)
        what = f"{name}: no such folder, or none of its files ends in {', '.join(endings)}"
    elif not remote and os.path.isdir(name):
        found = [*_files_in(name)]
        what = f"{name}: none of its files ends in {', '.join(endings)}"
    else:
        return [Place(name)]
    found = sorted(file for file in found if file.lower().endswith(tuple(endings)))
    if not found:
        raise RequestError(what)
    return [*map(Place, found)]


def _files_in(folder: str) -> Iterator[str]:
    for inside, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(inside, name) for name in files if not name.startswith("."))


def _remote_files(name: str, pattern: bool) -> list[str]:
    def look(files: Any, path: str) -> list[str]:
        return [files.unstrip_protocol(file) for file in (files.glob(path) if pattern else files.find(path))]

    try:
        return list(_elsewhere(name, look))
    except OSError as failure:
        raise RequestError(f"{name}: cannot be listed ({failure})") from None


def _elsewhere(url: str, do: Any) -> Any:
    """`do(file system, path)`. Whatever its packages raise becomes an OSError; FileNotFoundError stays what it is."""
    from fsspec.core import url_to_fs

    try:
        files, path = url_to_fs(url)
    except (ImportError, ValueError) as failure:
        raise RequestError(f"{url}: {failure}") from None
    try:
        return do(files, path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{url}: no such file") from None
    except Exception as failure:  # every kind of storage has errors of its own
        raise OSError(f"{type(failure).__name__}: {failure}") from failure

"""An image somewhere on disk: a file, a row of a table, a member of a shard. What a listing gives and reading takes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StoredImage:
    """Where an image is, without the image.

    key: names it in results; together with `source` it is unique, as far as the source's own keys are. source: the
    folder, table or shard it belongs to. file: the image file itself, or the table or shard that holds it.
    start: its row in a table, its first byte in a shard; None for a file of its own. size: its bytes in a shard.
    stamp: of the table or shard when it was listed, so that a row is not read from another file than was meant.
    reason: why it is not to be read, where the listing knows that already.
    """

    key: str
    source: str
    file: str
    start: int | None = None
    size: int | None = None
    stamp: str = ""
    reason: str = ""


def stamp_of(path: str | Path) -> str:
    """Changes when the file does: its size and the time of its last change. Raises OSError."""
    status = os.stat(path)
    return f"{status.st_size}-{status.st_mtime_ns}"


def printable(name: str) -> str:
    """A file name that is not UTF-8 holds lone surrogates, which no table and no JSON takes: those bytes, escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")

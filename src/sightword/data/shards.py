"""WebDataset shards: tar files whose members of one key make a sample. They are read in place and never unpacked."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from sightword.data.pairs import IMAGE_SUFFIXES
from sightword.data.stored import StoredImage, printable, stamp_of
from sightword.errors import ImageError, RequestError

# A picture's companion, one grey level a thing: no picture of its own.
MASK = "mask.png"
_DAMAGED = "the shard is damaged or cut short: what follows in it was not read"


class Member(NamedTuple):
    """A member of a shard: its whole name, the key and the extension in it, where its bytes are, and why it is not to
    be read. What cannot be read as members at all is one without a key and with a fault."""

    name: str
    key: str
    ending: str
    start: int
    size: int
    fault: str


def walk_members(file: BinaryIO, shard: str) -> Iterator[Member]:
    """The members of a shard but for folders and hidden files, in their order. `shard` is its name, for messages.

    A key is a member's name up to the first dot of its last part, and what follows is its extension, as in WebDataset.
    A member whose name leaves the folder (absolute, or with `..`), a link and a member that is cut short have a fault.
    Raises RequestError for what is no tar file.
    """
    length = file.seek(0, 2)
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            fault = ""
            try:
                for member in tar:
                    tar.members = []  # type: ignore[attr-defined]  # or it would keep all of them
                    key, ending = _split(member.name)
                    leaves = _leaves(member.name)
                    if not leaves and (member.isdir() or not key):
                        continue
                    why = "its name leaves the folder (absolute, or with ..)" if leaves else _fault(member, length)
                    yield Member(member.name, key, ending, member.offset_data, member.size, why)
                file.seek(tar.offset)
                end = file.read(tarfile.BLOCKSIZE)
                if any(end):
                    fault = _DAMAGED
                elif not end:
                    fault = "the shard has no end mark: it is likely cut short"
            except tarfile.ReadError:
                fault = _DAMAGED
            if fault:
                yield Member("", "", "", 0, 0, fault)
    except tarfile.ReadError as failure:
        raise RequestError(f"{shard}: not a readable tar file ({failure})") from None


def list_members(path: Path, source: str, extension: str | None = None) -> Iterator[StoredImage]:
    """The images of a shard, one a key, in the order of the shard.

    `extension` says which member is the image (`jpg`, `left.png`); otherwise it is the first with an image's. A member
    with a fault and a further image of a key are given with the reason why they are not read. Raises RequestError for
    what is no tar file.
    """
    try:
        stamp = stamp_of(path)
        with path.open("rb") as file:
            last: str | None = None  # the key whose image was found
            for member in walk_members(file, str(path)):
                damaged = not member.name
                if not damaged and not _leaves(member.name) and not fits(member.ending, extension):
                    continue
                again = "is a further image of its key: choose by the image column" if member.key == last else ""
                reason = member.fault or again
                if not reason:
                    last = member.key
                yield StoredImage(
                    key=printable(path.name if damaged else member.name if reason else member.key),
                    source=source,
                    file=str(path),
                    start=member.start,
                    size=member.size,
                    stamp=stamp,
                    reason=reason,
                )
    except OSError as failure:
        raise RequestError(f"{path}: not readable ({failure.strerror or failure})") from None


def read_members(images: Iterable[StoredImage]) -> Iterator[bytes | ImageError]:
    """The bytes of members of one shard. Raises OSError where the shard cannot be opened."""
    images = list(images)
    with open(images[0].file, "rb") as shard:
        for image in images:
            try:
                shard.seek(image.start or 0)
                yield shard.read(image.size)
            except OSError as failure:
                yield ImageError(image.key, f"could not be read ({failure.strerror or failure})")


def _split(name: str) -> tuple[str, str]:
    """`a/b.left.jpg` is (`a/b`, `left.jpg`). The key of a hidden file is empty."""
    folder, slash, last = name.removeprefix("./").rpartition("/")
    stem, _, ending = last.partition(".")
    return (folder + slash + stem if stem else ""), ending.lower()


def fits(ending: str, extension: str | None) -> bool:
    if extension is not None:
        return ending == extension.lower().removeprefix(".")
    return ending != MASK and "." + ending.rpartition(".")[2] in IMAGE_SUFFIXES


def _leaves(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or not parts[0] or parts[0].endswith(":")


def _fault(member: tarfile.TarInfo, length: int) -> str:
    if not member.isreg() or member.issparse():
        return "is a link or no plain file"
    if member.offset_data + member.size > length:
        return "is cut short by the end of the shard"
    return ""

"""WebDataset shards: tar files whose members of one key make a sample. They are read in place and never unpacked."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from sightword.data.pairs import IMAGE_SUFFIXES
from sightword.data.stored import StoredImage, printable, stamp_of
from sightword.errors import ImageError, RequestError


def list_members(path: Path, source: str, extension: str | None = None) -> Iterator[StoredImage]:
    """The images of a shard, one a key, in the order of the shard.

    A key is a member's name up to the first dot of its last part, and what follows is its extension, as in WebDataset.
    `extension` says which member is the image (`jpg`, `left.png`); otherwise it is the first with an image's.

    A member whose name leaves the folder (absolute, or with `..`), a link, a further image of a key and a member that
    is cut short are given with the reason why they are not read. Raises RequestError for what is no tar file.
    """
    try:
        stamp, length = stamp_of(path), path.stat().st_size
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            last: str | None = None  # the key whose image was found
            try:
                for member in tar:
                    tar.members = []  # type: ignore[attr-defined]  # or it would keep all of them
                    key, ending = _split(member.name)
                    reason = "its name leaves the folder (absolute, or with ..)" if _leaves(member.name) else ""
                    if not reason and (member.isdir() or not key or not _fits(ending, extension)):
                        continue
                    if not reason:
                        reason = _fault(member, length, again=key == last)
                    if not reason:
                        last = key
                    yield StoredImage(
                        key=printable(member.name if reason else key),
                        source=source,
                        file=str(path),
                        start=member.offset_data,
                        size=member.size,
                        stamp=stamp,
                        reason=reason,
                    )
                file.seek(tar.offset)
                damaged = any(file.read(tarfile.BLOCKSIZE))
            except tarfile.ReadError:
                damaged = True
            if damaged:
                reason = "the shard is damaged or cut short: what follows in it was not read"
                yield StoredImage(key=printable(path.name), source=source, file=str(path), reason=reason)
    except tarfile.ReadError as failure:
        raise RequestError(f"{path}: not a readable tar file ({failure})") from None
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


def _fits(ending: str, extension: str | None) -> bool:
    if extension is not None:
        return ending == extension.lower().removeprefix(".")
    return "." + ending.rpartition(".")[2] in IMAGE_SUFFIXES


def _leaves(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or not parts[0] or parts[0].endswith(":")


def _fault(member: tarfile.TarInfo, length: int, again: bool) -> str:
    if not member.isreg() or member.issparse():
        return "is a link or no plain file"
    if member.offset_data + member.size > length:
        return "is cut short by the end of the shard"
    return "is a further image of its key: choose by the image column" if again else ""

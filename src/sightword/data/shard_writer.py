"""Shards as they are written: tar files that every reader of WebDataset takes, with their indexes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from sightword.data.index import open_index
from sightword.data.places import Place
from sightword.errors import RequestError


def check_sizes(pairs: int, megabytes: int) -> None:
    """Raise RequestError for shards that could hold nothing."""
    if pairs < 1 or megabytes < 1:
        raise RequestError("a shard holds at least 1 pair and 1 megabyte")


class ShardWriter:
    """Writes 00000.tar and following into a folder. pairs, megabytes: at most so many in each. shards, bytes: what was
    written; the bytes are whole once it is left."""

    def __init__(self, folder: Path, pairs: int, megabytes: int) -> None:
        check_sizes(pairs, megabytes)
        self.folder, self.pairs, self.megabytes = folder, pairs, megabytes
        self.shards = self.bytes = 0
        self._shard: _Shard | None = None

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        elif self._shard:
            self._shard.drop()

    def add(self, members: Sequence[tuple[str, bytes]]) -> str:
        """Names and contents of the files of one pair. Gives the name of its shard."""
        room = sum(map(_blocks, members))
        shard = self._shard
        if shard is None or shard.pairs == self.pairs or shard.size + room > 1_000_000 * self.megabytes:
            self._finish()
            shard = self._shard = _Shard(self.folder / f"{self.shards:05}.tar")
            self.shards += 1
        shard.add(members)
        return shard.path.name

    def _finish(self) -> None:
        self.bytes += self._shard.close() if self._shard else 0
        self._shard = None


class _Shard:
    def __init__(self, path: Path) -> None:
        self.path, self.pairs, self.size = path, 0, 0
        self.file = path.open("wb")
        # The plainest of the formats, which every reader knows; and nothing in it says when, where or by whom.
        self.tar = tarfile.open(fileobj=self.file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115  # in close()

    def add(self, members: Sequence[tuple[str, bytes]]) -> None:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            self.tar.addfile(member, io.BytesIO(content))
            self.size += _blocks((name, content))
        self.pairs += 1

    def close(self) -> int:
        """The bytes that were written."""
        self.tar.close()
        self.file.close()
        open_index(Place(str(self.path)))
        return self.path.stat().st_size

    def drop(self) -> None:
        """Let go of the file, which nobody wants any more."""
        with suppress(OSError):  # of a full disk, told already
            self.file.close()


def _blocks(member: tuple[str, bytes]) -> int:
    return 512 + -(-len(member[1]) // 512) * 512

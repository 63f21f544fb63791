"""Pictures with a label at every pixel, as a source that training draws from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from sightword.data.images import Made
from sightword.data.masked import Masked
from sightword.data.pairs import Pair, Skipped, digest_of


class MaskedPairs:
    """A Source. The texts of its pairs are the labels that a picture is held against; nothing is kept in memory."""

    blocks = None

    def __init__(self, masked: Masked) -> None:
        self.masked = masked
        self.skipped: Sequence[Skipped] = ()

    def __len__(self) -> int:
        return len(self.masked)

    def __getitem__(self, index: int, /) -> Pair:
        picture = self.masked.pictures[index]
        return Pair(Made(picture.key, picture.image), picture.labels, picture.key, mask=picture.mask)

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))

    @cached_property
    def fingerprint(self) -> bytes:
        return digest_of(f"{key}" for key in self.keys())

    def keys(self) -> Iterator[str]:
        return (picture.key for picture in self.masked.pictures)

    def expect(self, blocks: Sequence[int], held: int) -> None:
        """There are none."""

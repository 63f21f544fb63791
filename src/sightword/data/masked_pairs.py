"""Pictures with a label at every pixel, as a source that training draws from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sightword.data.images import Made
from sightword.data.masked import Masked
from sightword.data.pairs import Pair, Skipped


@dataclass(frozen=True)
class MaskedPairs:
    """A Source. The texts of its pairs are the labels that a picture is held against. fingerprint: of all that decides
    what its pictures are."""

    masked: Masked
    fingerprint: bytes
    skipped: Sequence[Skipped] = ()

    blocks = None

    def __len__(self) -> int:
        return len(self.masked)

    def __getitem__(self, index: int, /) -> Pair:
        picture = self.masked.pictures[index]
        return Pair(Made(picture.key, picture.image), picture.labels, picture.key, mask=picture.mask)

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))

    def keys(self) -> Iterator[str]:
        return (picture.key for picture in self.masked.pictures)

    def expect(self, blocks: Sequence[int], held: int) -> None:
        """There are none."""

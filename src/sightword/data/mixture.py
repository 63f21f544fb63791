"""Several sources as one, each drawn from by its weight, with its own sentences."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from sightword.data.pairs import DataKind, Pair, Skipped, Source


@dataclass(frozen=True)
class Mixture:
    """A `Source` whose pairs are those of its parts, one part after the other; `sightword.data.walk` draws them by the
    weights instead. templates: of each part, the sentences of its texts; without any, those of the run. kinds: of each
    part, what its texts are; captions if not given. Of labels, the text of a pair is the name of its class. apart: each
    batch is drawn from one part. The key of a pair is `NUMBER:KEY`, with the number of its part."""

    parts: Sequence[Source]
    weights: tuple[float, ...]
    templates: Sequence[tuple[str, ...]]
    kinds: Sequence[DataKind] = ()
    apart: bool = False

    blocks = None

    @cached_property
    def begin(self) -> list[int]:
        """The index of each part's first pair, and the number of all."""
        begin = [0]
        for part in self.parts:
            begin.append(begin[-1] + len(part))
        return begin

    def __len__(self) -> int:
        return self.begin[-1]

    def __getitem__(self, index: int, /) -> Pair:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = bisect_right(self.begin, index) - 1
        return self._own(number, self.parts[number][index - self.begin[number]])

    def __iter__(self) -> Iterator[Pair]:
        return (self._own(number, pair) for number, part in enumerate(self.parts) for pair in part)

    def _own(self, number: int, pair: Pair) -> Pair:
        own = replace(pair, key=f"{number}:{pair.key}", templates=self.templates[number])
        if not self.kinds or self.kinds[number] == "captions":
            return own
        return replace(own, kind="labels", texts=(pair.name,), label=pair.name)

    @cached_property
    def skipped(self) -> Sequence[Skipped]:
        return [
            Skipped(f"{number}:{skip.key}", skip.reason)
            for number, part in enumerate(self.parts)
            for skip in part.skipped
        ]

    @cached_property
    def fingerprint(self) -> bytes:
        digest = hashlib.sha256(repr(self.weights).encode())
        for part in self.parts:
            digest.update(part.fingerprint)
        return digest.digest()

    def keys(self) -> Iterator[str]:
        for number, part in enumerate(self.parts):
            keys = part.keys()
            yield from (f"{number}:{key}" for key in keys)

    def expect(self, blocks: Sequence[int], held: int) -> None:
        """Its parts are told each by itself."""

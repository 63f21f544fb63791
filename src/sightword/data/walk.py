"""The way of a run through its source: which pair, in which epoch of its own, each position draws."""

from __future__ import annotations

import hashlib
import threading
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sightword.data.mixture import Mixture
from sightword.data.order import TURNS, order, turns, windows
from sightword.data.pairs import Source

_KEPT = 4  # epochs, or blocks of turns, that are remembered


class Walk(Protocol):
    """A pure function of its source, its seed and the position. Called from several threads at once."""

    def __call__(self, position: int) -> tuple[int, int]:
        """(epoch, index) of the pair at a position of the run."""
        ...

    def fingerprint(self, epoch: int) -> str:
        """Equal where an epoch has the same pairs in the same order. An epoch has as many positions as the source has
        pairs."""
        ...


def walk(source: Source, seed: int) -> Walk:
    return MixedWalk(source, seed) if isinstance(source, Mixture) else EpochWalk(source, seed)


class EpochWalk:
    """Every pair once an epoch. part: which of several sources this one is."""

    def __init__(self, source: Source, seed: int, part: int = 0) -> None:
        self.source, self.seed, self.part = source, seed, part
        self._lock = threading.Lock()
        self._orders: dict[int, NDArray[Any]] = {}
        self._windows: dict[int, list[tuple[int, list[int]]]] = {}

    def __call__(self, position: int) -> tuple[int, int]:
        epoch, place = divmod(position, len(self.source))
        found = self._orders.get(epoch)
        if found is None:
            with self._lock:  # the order of ten million pairs is not to be drawn by each thread
                found = self._orders.get(epoch)
                if found is None:
                    found = self._draw(epoch)
        if epoch in self._windows:
            self._look_ahead(epoch, place)
        return epoch, int(found[place])

    def _draw(self, epoch: int) -> NDArray[Any]:
        blocks = self.source.blocks
        for old in sorted(self._orders)[: 1 - _KEPT]:
            # An order that another thread still holds is good there.
            self._orders.pop(old)
            self._windows.pop(old, None)
        if blocks is None:
            found = order(len(self.source), self.seed, epoch, self.part)
        else:
            found, opened = windows(blocks, self.seed, epoch, self.part)
            self._windows[epoch] = opened
        if len(found) < 1 << 32:
            found = found.astype(np.uint32)
        self._orders[epoch] = found
        return found

    def _look_ahead(self, epoch: int, place: int) -> None:
        """Once the first pair of a window is drawn, the blocks of the next are fetched."""
        opened = self._windows.get(epoch, [])
        with self._lock:
            begun = 0
            while begun < len(opened) and opened[begun][0] <= place:
                begun += 1
            del opened[:begun]
            wanted = opened[0][1] if begun and opened else []
        if wanted:
            self.source.expect(wanted)

    def fingerprint(self, epoch: int) -> str:
        blocks = self.source.blocks
        kind = b"" if blocks is None else blocks.tobytes()
        return _digest(self.source.fingerprint, kind, f"{self.seed} {epoch} {self.part}".encode())


class MixedWalk:
    """Draws from several sources by their weights; each goes through epochs of its own."""

    def __init__(self, mixture: Mixture, seed: int) -> None:
        self.mixture, self.seed = mixture, seed
        self.walks = [EpochWalk(part, seed, number) for number, part in enumerate(mixture.parts)]
        self._turns: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}

    def __call__(self, position: int) -> tuple[int, int]:
        number, place = divmod(position, TURNS)
        found = self._turns.get(number)
        if found is None:
            found = self._draw(number)
        part = int(found[0][place])
        epoch, index = self.walks[part](int(found[1][place]))
        return epoch, self.mixture.begin[part] + index

    def _draw(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each position of a block of turns: the source, and how often it was drawn from before."""
        part_T, done = turns(self.mixture.weights, self.seed, number)
        before_T = np.zeros(len(part_T), np.int64)
        for part, drawn in enumerate(done):
            mine = part_T == part
            before_T[mine] = drawn + np.arange(mine.sum())
        if len(self._turns) > 64:
            # Threads may still look here: a new dictionary takes its place.
            self._turns = {}
        self._turns[number] = part_T, before_T
        return part_T, before_T

    def fingerprint(self, epoch: int) -> str:
        parts = [walk.fingerprint(epoch).encode() for walk in self.walks]
        return _digest(*parts, repr(self.mixture.weights).encode())


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]

"""The way of a run through its source: which pair, in which epoch of its own, each position draws."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sightword.data.mixture import Mixture
from sightword.data.order import TURNS, lane_places, laned, order, turns, windows
from sightword.data.pairs import Source

_KEPT = 4  # epochs that are remembered
_WINDOWS = 3  # whose blocks are held at once: of the last pairs of one, of the next, and what is fetched


class Walk(Protocol):
    """A pure function of its source, its seed and the position. Called from several threads at once."""

    def __call__(self, position: int) -> tuple[int, int]:
        """(epoch, index) of the pair at a position of the run."""
        ...

    def fingerprint(self, epoch: int) -> str:
        """Equal where an epoch has the same pairs in the same order. An epoch has as many positions as the source has
        pairs."""
        ...


def walk(source: Source, seed: int, batch_size: int = 1, lanes: int = 1) -> Walk:
    """batch_size: a multiple of `lanes`; with one lane, the way is the same for any."""
    if isinstance(source, Mixture):
        if source.apart:
            return ApartWalk(source, seed, batch_size, lanes)
        return MixedWalk(source, seed, batch_size, lanes)
    return SourceWalk(source, seed, batch_size, lanes)


class SourceWalk:
    """Every pair of one source once an epoch."""

    def __init__(self, source: Source, seed: int, batch_size: int, lanes: int) -> None:
        self.epochs = Epochs(source, seed, lanes=lanes)
        self.batch_size, self.lanes = batch_size, lanes

    def __call__(self, position: int) -> tuple[int, int]:
        return self.epochs(laned(position, self.batch_size, self.lanes))

    def fingerprint(self, epoch: int) -> str:
        return self.epochs.fingerprint(epoch)


class Epochs:
    """The pairs of a source, each once an epoch; draw n belongs to lane n modulo `lanes`. part: which of several
    sources this one is."""

    def __init__(self, source: Source, seed: int, part: int = 0, lanes: int = 1) -> None:
        self.source, self.seed, self.part, self.lanes = source, seed, part, lanes
        self._lock = threading.Lock()
        self._orders: dict[int, NDArray[Any]] = {}
        # Of each lane in an epoch, the windows that are still to come: the number of the first draw, and the blocks.
        self._windows: dict[int, list[list[tuple[int, list[int]]]]] = {}
        self._lanes_here: set[int] = set()  # those that were drawn from

    def __call__(self, draw: int) -> tuple[int, int]:
        epoch, place = divmod(draw, len(self.source))
        found = self._orders.get(epoch)
        if found is None:
            with self._lock:  # the order of ten million pairs is not to be drawn by each thread
                found = self._orders.get(epoch)
                if found is None:
                    found = self._draw(epoch)
        if epoch in self._windows:
            self._look_ahead(epoch, place, draw % self.lanes)
        return epoch, int(found[place])

    def _draw(self, epoch: int) -> NDArray[Any]:
        blocks = self.source.blocks
        for old in sorted(self._orders)[: 1 - _KEPT]:
            # An order that another thread still holds is good there.
            self._orders.pop(old)
            self._windows.pop(old, None)
        count = len(self.source)
        kind = np.uint32 if count < 1 << 32 else np.int64
        if blocks is None:
            found = order(count, self.seed, epoch, self.part).astype(kind)
        else:
            found = np.empty(count, kind)
            self._windows[epoch] = []
            for lane, (pairs, opened) in enumerate(windows(blocks, self.seed, epoch, self.part, self.lanes)):
                places = lane_places(count, epoch, lane, self.lanes)
                found[places.start :: self.lanes] = pairs
                self._windows[epoch].append([(places[at], inside) for at, inside in opened if at < len(places)])
        self._orders[epoch] = found
        return found

    def _look_ahead(self, epoch: int, place: int, lane: int) -> None:
        """Once the first pair of a window is drawn, the blocks of the next are fetched."""
        all_opened = self._windows.get(epoch)
        if all_opened is None:
            return
        opened = all_opened[lane]
        with self._lock:
            begun = 0
            while begun < len(opened) and opened[begun][0] <= place:
                begun += 1
            largest = max((len(inside) for _, inside in opened[: begun + 1]), default=0)
            del opened[:begun]
            wanted = opened[0][1] if begun and opened else []
            self._lanes_here.add(lane)
            lanes_here = len(self._lanes_here)
        if begun:
            self.source.expect(wanted, lanes_here * _WINDOWS * largest)

    def fingerprint(self, epoch: int) -> str:
        blocks = self.source.blocks
        kind = b"" if blocks is None else blocks.tobytes()
        lanes = f" {self.lanes}" if self.lanes > 1 else ""
        return _digest(self.source.fingerprint, kind, f"{self.seed} {epoch} {self.part}{lanes}".encode())


class MixedWalk:
    """Draws from several sources by their weights; each goes through epochs of its own. Each lane draws in turns of its
    own, which hold the same number of each source: so draw n of a source in a lane is its draw n * lanes + lane."""

    def __init__(self, mixture: Mixture, seed: int, batch_size: int, lanes: int) -> None:
        self.mixture, self.batch_size, self.lanes = mixture, batch_size, lanes
        self.parts = [Epochs(part, seed, number, lanes) for number, part in enumerate(mixture.parts)]
        self._turns = Turns(mixture.weights, seed, lanes)

    def __call__(self, position: int) -> tuple[int, int]:
        in_lane, lane = divmod(laned(position, self.batch_size, self.lanes), self.lanes)
        part, before = self._turns(in_lane, lane)
        epoch, index = self.parts[part](before * self.lanes + lane)
        return epoch, self.mixture.begin[part] + index

    def fingerprint(self, epoch: int) -> str:
        parts = [part.fingerprint(epoch).encode() for part in self.parts]
        return _digest(*parts, repr(self.mixture.weights).encode())


class ApartWalk:
    """Draws each batch from one source alone, batches by the weights, so that a contrastive loss compares nothing
    across sources. Batch n of a source has the draws from n * batch_size on, in lanes or not."""

    def __init__(self, mixture: Mixture, seed: int, batch_size: int, lanes: int) -> None:
        self.mixture, self.batch_size, self.lanes = mixture, batch_size, lanes
        self.parts = [Epochs(part, seed, number, lanes) for number, part in enumerate(mixture.parts)]
        self._turns = Turns(mixture.weights, seed)

    def __call__(self, position: int) -> tuple[int, int]:
        batch, row = divmod(position, self.batch_size)
        part, before = self._turns(batch)
        epoch, index = self.parts[part](laned(before * self.batch_size + row, self.batch_size, self.lanes))
        return epoch, self.mixture.begin[part] + index

    def fingerprint(self, epoch: int) -> str:
        parts = [part.fingerprint(epoch).encode() for part in self.parts]
        return _digest(*parts, f"{self.mixture.weights!r} batches of {self.batch_size} apart".encode())


class Turns:
    """Which source each turn draws from, and how often that was drawn from before, in this lane."""

    def __init__(self, weights: Sequence[float], seed: int, lanes: int = 1) -> None:
        self.weights, self.seed, self.lanes = weights, seed, lanes
        self._found: dict[tuple[int, int], tuple[NDArray[np.int64], NDArray[np.int64]]] = {}

    def __call__(self, turn: int, lane: int = 0) -> tuple[int, int]:
        number, place = divmod(turn, TURNS)
        found = self._found.get((number, lane))
        if found is None:
            found = self._draw(number, lane)
        return int(found[0][place]), int(found[1][place])

    def _draw(self, number: int, lane: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of a block of them."""
        part_T, done = turns(self.weights, self.seed, number, lane)
        before_T = np.zeros(len(part_T), np.int64)
        for part, drawn in enumerate(done):
            mine = part_T == part
            before_T[mine] = drawn + np.arange(mine.sum())
        if len(self._found) > 64 * self.lanes:
            # Threads may still look here: a new dictionary takes its place.
            self._found = {}
        self._found[number, lane] = part_T, before_T
        return part_T, before_T


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]

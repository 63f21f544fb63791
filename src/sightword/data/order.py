"""The order of samples and the randomness of each: pure functions, so that a run can stop and go on anywhere.

Position p of a run is sample `order(count, seed, epoch)[p % count]` of epoch `p // count`. Nothing else decides it:
not the number of workers, not the batch size, not what was read before. Where pairs can only be read in blocks,
`windows` takes the place of the perfect shuffle; which of several sources a position draws from says `turns`.

With lanes, each row of a batch belongs to one: of B rows and L lanes, the first B/L to the first. A lane goes through
blocks of its own, so that a rank that has the rows of some lanes needs no block of another's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_SHUFFLE, _SAMPLE, _TURNS = 1, 2, 3  # separate streams of one seed
WINDOW = 16_384  # pairs that are shuffled together, at least
TURNS = 64  # positions in which the shares of several sources are kept
_WHOLE = 1 << 32
_FINE = 16  # bits of a position in which draws are ordered


def order(count: int, seed: int, epoch: int, part: int = 0) -> NDArray[np.int64]:
    """A permutation of range(count). part: which of several sources it is for."""
    return _generator(_SHUFFLE, seed, epoch, part).permutation(count)


def windows(
    blocks: NDArray[np.int64], seed: int, epoch: int, part: int = 0, lanes: int = 1, window: int = WINDOW
) -> list[tuple[NDArray[np.int64], list[tuple[int, list[int]]]]]:
    """A permutation of all pairs in which each block is read once and then done with: the blocks come in a random
    order, and the pairs of a few neighbours (two at least, and at least `window` pairs) are shuffled together.

    blocks: the number of pairs in each, as they follow each other. Also gives the windows: where each begins in the
    permutation, and its blocks. With several lanes, each has a permutation of the pairs that lie in its stretch of the
    blocks' order, with windows smaller in proportion: those of `lane_places`, so that a block that lies across the end
    of a stretch is read in two lanes.
    """
    draw = _generator(_SHUFFLE, seed, epoch, part)
    order_K = draw.permutation(len(blocks))
    end_K = blocks[order_K].cumsum()  # in the line of all pairs, block after block
    start_K = end_K - blocks[order_K]
    shift_K = (blocks.cumsum() - blocks)[order_K] - start_K  # from the line to the source
    found = []
    begin, total = 0, int(blocks.sum())
    for lane in range(lanes):
        end = begin + len(lane_places(total, epoch, lane, lanes))
        first = int(np.searchsorted(end_K, begin, side="right")) if lane else 0
        last = int(np.searchsorted(start_K, end)) if lane < lanes - 1 else len(blocks)
        pieces = [
            (int(order_K[k]), np.arange(max(start_K[k], begin), min(end_K[k], end)) + shift_K[k])
            for k in range(first, last if begin < end else first)  # a lane of nothing opens nothing
        ]
        found.append(_shuffled(pieces, draw, max(1, window // lanes)))
        begin = end
    return found


def _shuffled(
    pieces: Sequence[tuple[int, NDArray[np.int64]]], draw: np.random.Generator, window: int
) -> tuple[NDArray[np.int64], list[tuple[int, list[int]]]]:
    """pieces: a block, and pairs of it, each."""
    found: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    opened: list[tuple[int, list[int]]] = []
    inside: list[tuple[int, NDArray[np.int64]]] = []
    at = size = 0
    for number, piece in enumerate(pieces, start=1):
        inside.append(piece)
        size += len(piece[1])
        if number == len(pieces) or (len(inside) > 1 and size >= window):
            found.append(draw.permutation(np.concatenate([pairs for _, pairs in inside])))
            opened.append((at, [block for block, _ in inside]))
            at, size, inside = at + size, 0, []
    return np.concatenate(found), opened


def lane_places(count: int, epoch: int, lane: int, lanes: int) -> range:
    """The places of an epoch of `count` that are a lane's. They go around the lanes, on from one epoch to the next."""
    return range((lane - epoch * count) % lanes, count, lanes)


def laned(position: int, batch_size: int, lanes: int) -> int:
    """The positions of a batch in another order, so that its first rows are those of the first lane, and so on: what
    this gives belongs to the lane that it is, modulo `lanes`."""
    batch, row = divmod(position, batch_size)
    rows = batch_size // lanes
    return batch * batch_size + row % rows * lanes + row // rows


def turns(weights: Sequence[float], seed: int, number: int, lane: int = 0) -> tuple[NDArray[np.int64], list[int]]:
    """Which source each of the positions `TURNS * number` and following (of a lane) draws from, and how often each
    source was drawn from before. After every such block, each source has its exact share, to one draw and half a draw
    more for each of the sources."""
    total = sum(weights)
    # Whole numbers from here on: shares of any length of run are exact.
    shares = [max(1, round(weight / total * _WHOLE)) for weight in weights]
    done, then = _drawn(shares, number * TURNS), _drawn(shares, (number + 1) * TURNS)
    counts = [after - before for before, after in zip(done, then, strict=True)]
    return _generator(_TURNS, seed, number, lane).permutation(np.repeat(np.arange(len(counts)), counts)), done


def _drawn(shares: Sequence[int], positions: int) -> list[int]:
    """How often each source was drawn from in so many positions. It only ever grows: a source's draw number n is due at
    the time (n - 1/2) / share, and draws are taken as they are due, the first source first where two are at once."""
    unit = sum(shares) << _FINE

    def due(time: int) -> list[int]:
        return [(2 * time * share + unit) // (2 * unit) for share in shares]

    slack = len(shares) + 1
    times = range(max(0, positions - slack) << _FINE, (positions + slack) << _FINE)
    time = times[bisect_left(times, positions, key=lambda time: sum(due(time)))]
    drawn = due(time - 1)
    missing = positions - sum(drawn)
    for source, count in enumerate(due(time)):
        taken = min(missing, count - drawn[source])
        drawn[source] += taken
        missing -= taken
    return drawn


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random numbers of sample `index` in `epoch`: its caption, its augmentation."""
    return _generator(_SAMPLE, seed, epoch, index)


def share_of(count: int, rank: int, ranks: int) -> slice:
    """Which of `count` rows are those of a rank: one after the other, in shares that differ by one at most."""
    return slice(count * rank // ranks, count * (rank + 1) // ranks)


def _generator(stream: int, seed: int, epoch: int, index: int) -> np.random.Generator:
    # Philox takes its key directly (no hashing pass over it), so making one costs microseconds; the counter keeps
    # the streams apart.
    key = np.array([seed & (2**64 - 1), epoch], dtype=np.uint64)
    counter = np.array([0, 0, index, stream], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(counter=counter, key=key))

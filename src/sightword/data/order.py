"""The order of samples and the randomness of each: pure functions, so that a run can stop and go on anywhere.

Position p of a run is sample `order(count, seed, epoch)[p % count]` of epoch `p // count`. Nothing else decides it:
not the number of workers, not the batch size, not what was read before. Where pairs can only be read in blocks,
`windows` takes the place of the perfect shuffle; which of several sources a position draws from says `turns`.
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
    blocks: NDArray[np.int64], seed: int, epoch: int, part: int = 0, window: int = WINDOW
) -> tuple[NDArray[np.int64], list[tuple[int, list[int]]]]:
    """A permutation of all pairs in which each block is read once and then done with: the blocks come in a random
    order, and the pairs of a few neighbours (two at least, and at least `window` pairs) are shuffled together.

    blocks: the number of pairs in each, as they follow each other. Also gives the windows: where each begins in the
    permutation, and its blocks.
    """
    draw = _generator(_SHUFFLE, seed, epoch, part)
    begin = blocks.cumsum() - blocks
    found: list[NDArray[np.int64]] = []
    opened: list[tuple[int, list[int]]] = []
    inside: list[int] = []
    at = 0
    numbers = draw.permutation(len(blocks)).tolist()
    for number in numbers:
        inside.append(number)
        size = int(blocks[inside].sum())
        if number == numbers[-1] or (len(inside) > 1 and size >= window):
            pairs = np.concatenate([np.arange(begin[block], begin[block] + blocks[block]) for block in inside])
            found.append(draw.permutation(pairs))
            opened.append((at, inside))
            at, inside = at + size, []
    return np.concatenate(found), opened


def turns(weights: Sequence[float], seed: int, number: int) -> tuple[NDArray[np.int64], list[int]]:
    """Which source each of the positions `TURNS * number` and following draws from, and how often each source was drawn
    from before. After every such block, each source has its exact share, to one draw and half a draw more for each of
    the sources."""
    total = sum(weights)
    # Whole numbers from here on: shares of any length of run are exact.
    shares = [max(1, round(weight / total * _WHOLE)) for weight in weights]
    done, then = _drawn(shares, number * TURNS), _drawn(shares, (number + 1) * TURNS)
    counts = [after - before for before, after in zip(done, then, strict=True)]
    return _generator(_TURNS, seed, number, 0).permutation(np.repeat(np.arange(len(counts)), counts)), done


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

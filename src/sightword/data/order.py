"""The order of samples and the randomness of each: pure functions, so that a run can stop and go on anywhere.

Position p of a run is sample `order(count, seed, epoch)[p % count]` of epoch `p // count`. Nothing else decides it:
not the number of workers, not the batch size, not what was read before. Where pairs can only be read in blocks,
`windows` takes the place of the perfect shuffle; which of several sources a position draws from says `turns`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_SHUFFLE, _SAMPLE, _TURNS = 1, 2, 3  # separate streams of one seed
WINDOW = 16_384  # pairs that are shuffled together, at least
TURNS = 64  # positions in which the shares of several sources are kept
_WHOLE = 1 << 32


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
    from before. After every such block, no source is further than one draw from its exact share."""
    shares = np.cumsum(np.array(weights, dtype=np.float64))
    # Whole numbers from here on: shares of any length of run are exact.
    ends = [0, *(round(share / shares[-1] * _WHOLE) for share in shares.tolist())]

    def before(block: int) -> list[int]:
        drawn = [(block * TURNS * end + _WHOLE // 2) // _WHOLE for end in ends]
        return [b - a for a, b in pairwise(drawn)]

    done, then = before(number), before(number + 1)
    counts = [b - a for a, b in zip(done, then, strict=True)]
    return _generator(_TURNS, seed, number, 0).permutation(np.repeat(np.arange(len(counts)), counts)), done


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random numbers of sample `index` in `epoch`: its caption, its augmentation."""
    return _generator(_SAMPLE, seed, epoch, index)


def _generator(stream: int, seed: int, epoch: int, index: int) -> np.random.Generator:
    # Philox takes its key directly (no hashing pass over it), so making one costs microseconds; the counter keeps
    # the streams apart.
    key = np.array([seed & (2**64 - 1), epoch], dtype=np.uint64)
    counter = np.array([0, 0, index, stream], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(counter=counter, key=key))

"""The order of samples and the randomness of each: pure functions, so that a run can stop and go on anywhere.

Position p of a run is sample `order(count, seed, epoch)[p % count]` of epoch `p // count`. Nothing else decides it:
not the number of workers, not the batch size, not what was read before.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SHUFFLE, _SAMPLE = 1, 2  # separate streams of one seed


def order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """A permutation of range(count)."""
    return _generator(_SHUFFLE, seed, epoch, 0).permutation(count)


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

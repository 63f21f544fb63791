"""Pictures to batches of pixels, read by a pool of threads ahead of the model."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sightword.data.images import ImageLike, ImageSpec
from sightword.errors import ImageError

_AHEAD = 3  # batches that are read, or being read, at a time


class PixelBatch(NamedTuple):
    """positions: of the pictures that were read, in the order of the source. pixels: uint8 [len(positions), H, W, 3].
    unreadable: what is wrong with the others, by position."""

    positions: list[int]
    pixels: NDArray[np.uint8]
    unreadable: dict[int, ImageError]


def read_batches(images: Iterable[ImageLike], spec: ImageSpec, batch_size: int) -> Generator[PixelBatch, None, None]:
    """`batch_size` pictures of the source a batch, and no more than a few batches ahead."""

    def read(image: ImageLike) -> NDArray[np.uint8] | ImageError:
        try:
            return spec.prepare(image)
        except ImageError as error:
            return error

    source = enumerate(images)
    waiting: deque[list[tuple[int, Future[Any]]]] = deque()
    with ThreadPoolExecutor(max_workers=max(2, torch.get_num_threads())) as pool:
        try:
            while True:
                while len(waiting) < _AHEAD and (chunk := list(islice(source, batch_size))):
                    waiting.append([(position, pool.submit(read, image)) for position, image in chunk])
                if not waiting:
                    return
                positions, arrays, unreadable = [], [], {}
                for position, future in waiting.popleft():
                    outcome = future.result()
                    if isinstance(outcome, ImageError):
                        unreadable[position] = outcome
                    else:
                        positions.append(position)
                        arrays.append(outcome)
                pixels = np.stack(arrays) if arrays else np.empty((0, spec.size, spec.size, 3), np.uint8)
                yield PixelBatch(positions, pixels, unreadable)
        finally:
            pool.shutdown(cancel_futures=True)

"""Pictures to batches of pixels, read by a pool of threads ahead of the model."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sightword.data.images import ImageLike
from sightword.errors import ImageError

Prepare: TypeAlias = Callable[[ImageLike], NDArray[np.uint8]]
Allocate: TypeAlias = Callable[[tuple[int, ...]], NDArray[np.uint8]]


class PixelBatch(NamedTuple):
    """positions: of the pictures that were read, in the order of the source. pixels: uint8 [len(positions), H, W, 3],
    theirs until the next batch is taken. unreadable: what is wrong with the others, by position."""

    positions: list[int]
    pixels: NDArray[np.uint8]
    unreadable: dict[int, ImageError]


def allocate(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.empty(shape, np.uint8)


def read_batches(
    images: Iterable[ImageLike], prepare: Prepare, size: int, batch_size: int, ahead: int, memory: Allocate = allocate
) -> Generator[PixelBatch, None, None]:
    """`batch_size` pictures of the source a batch; `ahead` batches are read while one is in use. `memory` is taken
    for the first of them and used again."""

    def read(image: ImageLike, place: NDArray[np.uint8]) -> ImageError | None:
        try:
            place[...] = prepare(image)
        except ImageError as error:
            return error
        return None

    source = enumerate(images)
    free: list[NDArray[np.uint8]] = []
    waiting: deque[tuple[NDArray[np.uint8], list[int], list[Future[ImageError | None]]]] = deque()
    with ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 1)) as pool:
        try:
            while True:
                while len(waiting) <= ahead and (chunk := list(islice(source, batch_size))):
                    shape = (len(chunk), size, size, 3)  # the last batch may be smaller than the first
                    buffer = free.pop() if free else memory(shape)
                    reading = [pool.submit(read, image, buffer[at]) for at, (_, image) in enumerate(chunk)]
                    waiting.append((buffer, [position for position, _ in chunk], reading))
                if not waiting:
                    return
                buffer, positions, reading = waiting.popleft()
                errors = [future.result() for future in reading]
                unreadable = {position: error for position, error in zip(positions, errors, strict=True) if error}
                kept = [at for at, error in enumerate(errors) if error is None]
                pixels = buffer[kept] if unreadable else buffer[: len(kept)]
                yield PixelBatch([positions[at] for at in kept], pixels, unreadable)
                free.append(buffer)
        finally:
            pool.shutdown(cancel_futures=True)

"""Pictures that the ranks of `training.ranks` embed together: each its share, and the first has them all.

A share is a run of whole batches. So every picture is in the batch, and at the place in it, that it has with one rank,
and its vector is the same to the bit, where the ranks compute alike: on the same kind of device, with as many threads.

Shapes: N pictures, M of them that could be read, D joint space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sightword.data.images import ImageLike
from sightword.data.order import share_of
from sightword.embedding.base import BaseEmbedder, Vectors
from sightword.errors import ImageError
from sightword.training.ranks import World

BATCH = 64  # pictures


def embed_shares(
    embedder: BaseEmbedder,
    images: Sequence[ImageLike],
    world: World,
    progress: Callable[[int], None] | None = None,
) -> tuple[Vectors, dict[int, ImageError]]:
    """Vectors [M, D] of the pictures that could be read, in order, on the first rank; [0, D] on the others. And on all
    ranks what is wrong with the rest, by position. progress: is told how many are done, as far as this rank can see."""
    batches = share_of(-(-len(images) // BATCH), world.rank, world.size)
    mine = range(len(images))[batches.start * BATCH : batches.stop * BATCH]
    errors: dict[int, ImageError] = {}

    def tell(done: int) -> None:
        if progress:
            progress(done * len(images) // len(mine))

    vectors = embedder.embed_images((images[row] for row in mine), BATCH, skipped=errors, progress=tell)
    parts = world.to_first(vectors)
    told = world.join([(mine[place], error.source, error.reason) for place, error in errors.items()])
    joined = np.concatenate(parts) if parts else vectors[:0]
    return joined, {row: ImageError(source, reason) for row, source, reason in told}

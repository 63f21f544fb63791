"""A worker of `embed`, wherever it is. Each unit is embedded and written by itself, so that all give one result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sightword.checkpoints.families import load_folder
from sightword.checkpoints.fingerprint import fingerprint
from sightword.checkpoints.hub import locate
from sightword.data.images import ImageLike
from sightword.data.listing import read_listed
from sightword.embedding import Precision
from sightword.embedding.base import Decode
from sightword.embedding.embedder import Embedder
from sightword.embedding.parts import LIST, Left, WorkList, part_name, write_part
from sightword.errors import ImageError, SightwordError

# Told how many more images are done.
Tick = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Job:
    """All that a worker has to know."""

    out: Path
    model: str | Path
    fingerprint: str
    precision: Precision
    decode: Decode
    batch_size: int
    image_column: str | None


class Worker:
    """Embeds units of a job's list and writes their parts."""

    def __init__(self, job: Job, embedder: Embedder) -> None:
        self.job, self.embedder = job, embedder

    def embed(self, unit: int, tick: Tick) -> None:
        with WorkList(self.job.out / LIST) as work:
            listed = work[unit]
        left: dict[int, str] = {}  # reasons by place in the unit
        given: list[int] = []  # places of what the embedder was given

        def readable() -> Iterator[ImageLike]:
            for place, image in enumerate(read_listed(listed, self.job.image_column)):
                if isinstance(image, ImageError):
                    left[place] = image.reason
                else:
                    given.append(place)
                    yield image

        kept: list[int] = []
        vectors = [np.empty((0, self.embedder.dim), np.float16)]
        told = 0
        for batch in self.embedder.iter_images(readable(), self.job.batch_size):
            kept += [given[position] for position in batch.positions]
            vectors.append(batch.vectors.astype(np.float16))
            left |= {given[position]: error.reason for position, error in batch.unreadable.items()}
            tick(len(batch.positions) + len(batch.unreadable))
            told += len(batch.positions) + len(batch.unreadable)
        try:
            write_part(
                self.job.out / part_name(unit),
                [listed[place] for place in kept],
                np.concatenate(vectors),
                [Left(listed[place].key, listed[place].source, reason) for place, reason in sorted(left.items())],
                self.job.fingerprint,
            )
        except SightwordError as failure:
            raise SightwordError(f"{failure}. Finished parts are kept: the same command goes on") from None
        tick(len(listed) - told)


def load_worker(job: Job, device: str, threads: int) -> Worker:
    """A worker in a process of its own, with `threads` for torch and decoding. Raises SightwordError where its model is
    not the one that was meant: a path may lead to other files on another machine, or to newer ones."""
    torch.set_num_threads(threads)
    encoder, contract, tokenizer = load_folder(*locate(job.model))
    if fingerprint(encoder, contract) != job.fingerprint:
        raise SightwordError(f"{job.model}: not the model that the work was begun with (another fingerprint)")
    return Worker(job, Embedder(encoder, contract, tokenizer, device, job.precision, job.decode))

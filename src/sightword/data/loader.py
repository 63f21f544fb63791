"""From pairs to batches: reads ahead in threads, in an order that depends on seed and position alone."""

from __future__ import annotations

import copy
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from sightword.data.augment import Augment, Frame, Picture
from sightword.data.images import ImageSpec, open_image
from sightword.data.kept import KeptPictures, expected_bytes
from sightword.data.order import sample_rng, share_of
from sightword.data.pairs import (
    NO_LABEL,
    VOID,
    Batch,
    Beside,
    DataKind,
    Kind,
    Listed,
    Pair,
    Skipped,
    Source,
    Truth,
    label_id,
)
from sightword.data.tokenizer import Tokenizer
from sightword.data.walk import Walk, walk
from sightword.errors import ImageError, RequestError

_LOOKED_AT = 512  # pictures whose sizes stand for those of all
_NO_PIXELS = np.empty((0, 0, 3), np.uint8)
_SMALLEST = 1024  # bytes; a source of so many small pictures is not even looked at


@dataclass(frozen=True)
class Sample:
    """One pair as one epoch sees it. beside: a sentence and the text in it, of each kind that is asked for; two empty
    ones where the pair has none. listed: of each kind of which all are, a sentence and the text in it, of each."""

    pixels: Picture
    text: str
    caption: str
    label: str
    key: str
    draw: int
    place: int
    labels: tuple[str, ...] = ()
    mask: NDArray[np.int16] | None = None
    beside: tuple[tuple[str, str], ...] = ()
    listed: tuple[tuple[tuple[str, str], ...], ...] = ()
    kind: DataKind = "captions"


@dataclass
class Loader:
    """templates: sentences with `{}` for the text, one of them drawn for each sample. first: how often the first text
    of a pair is taken; the others share the rest. workers: threads that read ahead; with none, a batch is read when it
    is asked for, by whoever asks. batch_size: of all ranks together; a batch holds the rows of this rank alone.
    lanes: a divisor of it; the rows of each come from blocks of its own (see `sightword.data.order`). kinds: of the
    pairs' companions, of which a batch holds one each. listed: those of which it holds all (of `mcq`, of one question).
    kept: pictures of this source that stay in memory (`keep_pictures`). unread: where no picture is opened at all, as
    their vectors are known (`training.seen`): the places of those that have none."""

    source: Source
    tokenizer: Tokenizer
    spec: ImageSpec
    augment: Augment
    batch_size: int
    seed: int
    templates: Sequence[str] = ("{}",)
    first: float = 1.0
    workers: int = 2
    ahead: int = 4
    rank: int = 0
    ranks: int = 1
    lanes: int = 1
    kinds: tuple[Kind, ...] = ()
    listed: tuple[Kind, ...] = ()
    kept: KeptPictures | None = None
    unread: frozenset[int] | None = None
    _walk: Walk = field(init=False)

    def __post_init__(self) -> None:
        self._walk = walk(self.source, self.seed, self.batch_size, self.lanes)

    def order_fingerprint(self, epoch: int) -> str:
        """16 hexadecimal digits: equal where the pairs of an epoch and their order are. No picture is read."""
        return self._walk.fingerprint(epoch)

    def keep_pictures(self, most: int) -> int:
        """From now on, decoded pictures stay in memory, if those of the whole source will take `most` bytes at the
        most, as the first ones of this rank tell. Gives the bytes that they will take, or 0."""
        if len(self.source) * _SMALLEST > most:
            return 0
        positions = itertools.chain.from_iterable(map(self._positions, itertools.count()))
        looked_at = itertools.islice(positions, min(_LOOKED_AT, len(self.source)))
        size = expected_bytes((self.source[self._walk(position)[1]].image for position in looked_at), len(self.source))
        if size > most:
            return 0
        self.kept = KeptPictures(most, self.spec.orient)
        return size

    def batches(self, start: int = 0) -> Generator[Batch, None, None]:
        """Batch after batch without end, from batch number `start`. The last batch of an epoch is filled from the next
        epoch. A pair that cannot be read is left out of its batch, and named in it."""
        if not self.workers:
            for number in itertools.count(start):
                yield self._collate([self.sample(position) for position in self._positions(number)])
        waiting: deque[list[Future[Sample | Skipped]]] = deque()
        number = start
        with ThreadPoolExecutor(max_workers=self.workers, thread_name_prefix="load") as pool:
            try:
                while True:
                    while len(waiting) < self.ahead:
                        waiting.append([pool.submit(self.sample, position) for position in self._positions(number)])
                        number += 1
                    yield self._collate([future.result() for future in waiting.popleft()])
            finally:
                pool.shutdown(cancel_futures=True)

    def _positions(self, number: int) -> range:
        return range(number * self.batch_size, (number + 1) * self.batch_size)[
            share_of(self.batch_size, self.rank, self.ranks)
        ]

    def sample(self, position: int) -> Sample | Skipped:
        """The sample at `position` of the run: a pure function of it, the seed and the source."""
        epoch, index = self._walk(position)
        pair = self.source[index]
        rng = sample_rng(self.seed, epoch, index)
        caption, template = self._text(pair, rng)
        frame = self.augment.frame(self.spec, rng)
        try:
            pixels, mask = self._look(pair, index, frame, rng)
        except ImageError as error:
            return Skipped(pair.key, error.reason)
        labels = () if mask is None else pair.texts
        draw = int(rng.integers(2**62))
        beside = self._beside(pair, template, rng) if self.kinds else ()
        listed = tuple(tuple(_told(pair, kind, template, rng)) for kind in self.listed)
        text = template.replace("{}", caption)
        return Sample(pixels, text, caption, pair.name, pair.key, draw, index, labels, mask, beside, listed, pair.kind)

    def _look(
        self, pair: Pair, index: int, frame: Frame, rng: np.random.Generator
    ) -> tuple[Picture, NDArray[np.int16] | None]:
        """The picture of a pair and its mask, as a step sees them. Raises ImageError."""
        if self.unread is not None:
            if index in self.unread:
                raise ImageError(pair.key, "could not be read when the vectors of the pictures were made")
            return _NO_PIXELS, None
        # A mask is of the picture as it is stored.
        enough = frame.enough if pair.mask is None else _whole
        if self.kept is None:
            picture = open_image(pair.image, orient=self.spec.orient, enough=enough)
        else:
            picture = self.kept.open(index, pair.image, enough)
        found = None if pair.mask is None else read_mask(pair.mask, len(pair.texts), picture.size)
        mask = None if found is None else self.augment.finish_mask(found, frame, copy.deepcopy(rng))
        return self.augment.finish(picture, frame, rng), mask

    def _text(self, pair: Pair, rng: np.random.Generator) -> tuple[str, str]:
        """A text of the pair, and the sentence for it."""
        # Both numbers are always drawn, so that a change of the texts does not change the augmentation.
        which, template = rng.random(2)
        text = pair.texts[0]
        if which >= self.first and len(pair.texts) > 1:
            text = pair.texts[1 + int((which - self.first) / (1 - self.first) * (len(pair.texts) - 1))]
        templates = pair.templates or self.templates
        return text, templates[int(template * len(templates))]

    def _beside(self, pair: Pair, template: str, rng: np.random.Generator) -> tuple[tuple[str, str], ...]:
        """Of each kind, in the same sentence as the pair's own text. One number draws all of them, so that kinds of
        which there are as many, whose texts belong together, stay together."""
        which, found = rng.random(), []
        for kind in self.kinds:
            texts = pair.companions.of(kind) if pair.companions else ()
            text = texts[int(which * len(texts))] if texts else ""
            found.append((template.replace("{}", text), text) if text else ("", ""))
        return tuple(found)

    def _collate(self, outcomes: Sequence[Sample | Skipped]) -> Batch:
        samples = [outcome for outcome in outcomes if isinstance(outcome, Sample)]
        size = self.spec.size
        pixels = np.stack([sample.pixels for sample in samples]) if samples else np.empty((0, size, size, 3), np.uint8)
        return Batch(
            images=torch.from_numpy(pixels).permute(0, 3, 1, 2),
            tokens=self.tokenizer(
                [sample.text for sample in samples], truncate=True, kinds=[sample.kind for sample in samples]
            ),
            labels=torch.tensor(
                [(label_id(sample.label), label_id(sample.caption)) for sample in samples], dtype=torch.int64
            ).reshape(-1, 2),
            keys=tuple(sample.key for sample in samples),
            draws=torch.tensor([sample.draw for sample in samples], dtype=torch.int64),
            skipped=tuple(outcome for outcome in outcomes if isinstance(outcome, Skipped)),
            texts=tuple(sample.text for sample in samples),
            places=tuple(sample.place for sample in samples),
            truth=_truth(samples),
            beside={kind: self._of_kind(samples, number) for number, kind in enumerate(self.kinds)},
            listed={kind: self._list(samples, number) for number, kind in enumerate(self.listed)},
        )

    def _list(self, samples: Sequence[Sample], number: int) -> Listed:
        kind: DataKind = "labels" if self.listed[number] == "tags" else "captions"
        found = [text for sample in samples for text in sample.listed[number]]
        return Listed(
            self.tokenizer([sentence for sentence, _ in found], truncate=True, kinds=[kind] * len(found)),
            torch.tensor([label_id(text) for _, text in found], dtype=torch.int64),
            torch.tensor([len(sample.listed[number]) for sample in samples], dtype=torch.int64),
        )

    def _of_kind(self, samples: Sequence[Sample], number: int) -> Beside:
        texts = [sample.beside[number] for sample in samples]
        labels = [label_id(text) if text else NO_LABEL for _, text in texts]
        kinds = [sample.kind for sample in samples]
        tokens = self.tokenizer([sentence for sentence, _ in texts], truncate=True, kinds=kinds)
        return Beside(tokens, torch.tensor(labels, dtype=torch.int64))


def _told(pair: Pair, kind: Kind, template: str, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    """Of each of the pair's companions of a kind, or of each option of one of its questions, the sentence and the
    text."""
    texts = pair.companions.of(kind) if pair.companions else ()
    if kind == "mcq" and pair.companions and texts:
        texts = pair.companions.mcq[int(rng.random() * len(pair.companions.mcq))]
    for text in texts:
        yield template.replace("{}", text), text


def read_mask(mask: Callable[[], NDArray[np.int16]], labels: int, size: tuple[int, int]) -> NDArray[np.int16]:
    """The mask of a picture of `size` (width, height) with so many labels. Raises ImageError where it cannot be its."""
    found = mask()
    if found.shape != size[::-1]:
        height, width = found.shape
        raise ImageError("mask", f"the mask has {width}x{height} pixels, and the picture {size[0]}x{size[1]}")
    low, high = int(found.min()), int(found.max())
    if low < VOID or high >= labels:
        raise ImageError(
            "mask",
            f"the mask holds the label {low if low < VOID else high}, and the picture's {labels} labels are numbered "
            f"from 0 ({VOID} is for pixels that do not count)",
        )
    return found


def _whole(size: tuple[int, int]) -> tuple[int, int]:
    return size


def _truth(samples: Sequence[Sample]) -> Truth | None:
    if not samples or samples[0].mask is None:
        return None
    first = samples[0]
    for sample in samples:
        if len(sample.labels) != len(first.labels):
            raise RequestError(
                f"{sample.key} has {len(sample.labels)} labels to choose from, and {first.key} {len(first.labels)}: "
                "the pictures of a batch have as many each"
            )
    masks = np.stack([sample.mask for sample in samples if sample.mask is not None])
    return Truth(torch.from_numpy(masks), tuple(sample.labels for sample in samples))

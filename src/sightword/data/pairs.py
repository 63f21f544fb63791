"""Pairs and batches: what flows from files to towers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, compress, islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from sightword.data.images import ImageLike

if TYPE_CHECKING:
    import torch
    from torch import Tensor


Kind: TypeAlias = Literal["denied", "absent", "foils", "affirmed", "long", "tags", "mcq"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# What the texts of a source are: what people wrote about each picture, or the names of classes.
DataKind: TypeAlias = Literal["captions", "labels"]


@dataclass(frozen=True, slots=True)
class Companions:
    """Further texts about the picture of a pair, of each kind any number.

    denied: false; they deny something that is there (presence negation; or, of two things, one that is not there, and
    affirm the other, which is not there either). absent: true; they deny something that could be there and is not
    (absence negation). foils: false, and no negations: words in another order, another name or colour. affirmed: true;
    they affirm something that is there, in the words of foils. A source adds them to the pair's own texts. long: true,
    of 60 words and more; the pair's own texts are then the short ones. tags: the names of all that is in the picture; a
    name that is not among them, but among those of other pictures, is false. mcq: multiple-choice questions, each its
    options; the first is true, the others are false.
    """

    denied: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    foils: tuple[str, ...] = ()
    affirmed: tuple[str, ...] = ()
    long: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    mcq: tuple[tuple[str, ...], ...] = ()

    def of(self, kind: Kind) -> tuple[str, ...]:
        """All texts of a kind; of questions all options."""
        if kind == "mcq":
            return tuple(chain.from_iterable(self.mcq))
        texts: tuple[str, ...] = getattr(self, kind)
        return texts


@dataclass(frozen=True, slots=True)
class Pair:
    """An image with the texts that are true of it.

    label: what the image shows. Two pairs with one label are positives of each other; the first text stands in where
        there is no label.
    group: where the image comes from (a vendor, a camera, a site), for accuracy by group.
    key: names the pair in logs and reports.
    templates: the sentences that its texts stand in, where its source has its own.
    mask: where there is truth for each pixel, gives it: int16 [H, W], as large as the image, which of the texts is
        there; VOID does not count. The texts are then labels to choose from, and not all of them need be there.
    companions: further texts, true and false ones, for losses that ask for them.
    kind: what its texts are; a model with learned prefixes reads each kind behind its own.
    """

    image: ImageLike
    texts: tuple[str, ...]
    key: str
    label: str = ""
    group: str = ""
    templates: tuple[str, ...] = ()
    mask: Callable[[], NDArray[np.int16]] | None = None
    companions: Companions | None = None
    kind: DataKind = "captions"

    @property
    def name(self) -> str:
        return self.label or self.texts[0]


VOID = -1  # in a mask: a pixel that does not count


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that was left out, and why."""

    key: str
    reason: str


class Pairs(Protocol):
    """Pairs one after the other. To reach one is cheap: its picture is read when it is opened."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Pair: ...

    def __iter__(self) -> Iterator[Pair]: ...


class Source(Pairs, Protocol):
    """What a training draws from.

    skipped: what was left out when the source was opened. blocks: None where any pair can be read at any time;
    otherwise how many pairs, one after the other, are in each part that is read as a whole (a shard that is elsewhere,
    row groups of a table). fingerprint: of what the pairs are, in their order; not of the pictures.
    """

    @property
    def skipped(self) -> Sequence[Skipped]: ...

    @property
    def blocks(self) -> NDArray[np.int64] | None: ...

    @property
    def fingerprint(self) -> bytes: ...

    def keys(self) -> Iterator[str]:
        """Those of its pairs, which are not made for it."""

    def expect(self, blocks: Sequence[int], held: int) -> None:
        """These blocks will be wanted soon; so many at once are in use."""


@dataclass(frozen=True)
class PairList:
    """Pairs held in memory (the pairs, not the pictures: those stay files until they are needed)."""

    pairs: Sequence[Pair]
    skipped: Sequence[Skipped] = ()

    blocks = None

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int, /) -> Pair:
        return self.pairs[index]

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    @property
    def fingerprint(self) -> bytes:
        return digest_of(self.keys())

    def keys(self) -> Iterator[str]:
        return (pair.key for pair in self.pairs)

    def expect(self, blocks: Sequence[int], held: int) -> None:
        """There are none."""


@dataclass(frozen=True)
class Subset:
    """Some of the pairs of a source: those of `indices`, which rise."""

    source: Source
    indices: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int, /) -> Pair:
        return self.source[int(self.indices[index])]

    def __iter__(self) -> Iterator[Pair]:
        return (self.source[index] for index in self.indices.tolist())

    @property
    def skipped(self) -> Sequence[Skipped]:
        return self.source.skipped

    @cached_property
    def blocks(self) -> NDArray[np.int64] | None:
        if self.source.blocks is None:
            return None
        return np.diff(np.searchsorted(self.indices, self.source.blocks.cumsum()), prepend=0)

    @cached_property
    def fingerprint(self) -> bytes:
        return hashlib.sha256(self.source.fingerprint + self.indices.tobytes()).digest()

    def keys(self) -> Iterator[str]:
        chosen = np.zeros(len(self.source), np.bool_)
        chosen[self.indices] = True
        return compress(self.source.keys(), chosen.tolist())

    def expect(self, blocks: Sequence[int], held: int) -> None:
        self.source.expect(blocks, held)


def digest_of(keys: Iterable[str]) -> bytes:
    digest = hashlib.sha256()
    for key in keys:
        digest.update(key.encode("utf-8", "surrogatepass") + b"\0")
    return digest.digest()


@dataclass(frozen=True, slots=True)
class Tokens:
    """Texts as numbers. ids: int64 [B, L], padded on the right; lengths: int64 [B], start and end included."""

    ids: Tensor
    lengths: Tensor

    def to(self, device: torch.device | str) -> Tokens:
        return Tokens(self.ids.to(device, non_blocking=True), self.lengths.to(device, non_blocking=True))

    def rows(self, rows: slice) -> Tokens:
        return Tokens(self.ids[rows], self.lengths[rows])

    def __len__(self) -> int:
        return self.ids.shape[0]


NO_LABEL = -1  # that no text has


@dataclass(frozen=True, slots=True)
class Beside:
    """A further text of each pair. tokens: of nothing, where a pair has none. labels: int64 [B], equal for equal texts,
    and NO_LABEL where there is none."""

    tokens: Tokens
    labels: Tensor

    @property
    def there(self) -> Tensor:
        """bool [B]: which pairs have one."""
        return self.labels != NO_LABEL

    def to(self, device: torch.device | str) -> Beside:
        return Beside(self.tokens.to(device), self.labels.to(device, non_blocking=True))

    def rows(self, rows: slice) -> Beside:
        return Beside(self.tokens.rows(rows), self.labels[rows])


@dataclass(frozen=True, slots=True)
class Listed:
    """All companions of a kind, or all options of a question, pair after pair. tokens: of the texts [P]; labels: int64
    [P], equal for equal texts; counts: int64 [B], how many each pair has."""

    tokens: Tokens
    labels: Tensor
    counts: Tensor

    def to(self, device: torch.device | str) -> Listed:
        return Listed(
            self.tokens.to(device),
            self.labels.to(device, non_blocking=True),
            self.counts.to(device, non_blocking=True),
        )

    def rows(self, rows: slice) -> Listed:
        texts = slice(*(int(self.counts[:place].sum()) for place in rows.indices(len(self.counts))[:2]))
        return Listed(self.tokens.rows(texts), self.labels[texts], self.counts[rows])


@dataclass(frozen=True, slots=True)
class Truth:
    """What is at each pixel. masks: int16 [B, H, W], index into the labels of each picture, or VOID; labels: of each
    picture, as many of one as of another."""

    masks: Tensor
    labels: tuple[tuple[str, ...], ...]

    def to(self, device: torch.device | str) -> Truth:
        return Truth(self.masks.to(device, non_blocking=True), self.labels)

    def rows(self, rows: slice) -> Truth:
        return Truth(self.masks[rows], self.labels[rows])


@dataclass(frozen=True, slots=True)
class Batch:
    """images: uint8 [B, 3, H, W]; tokens of one text an image; labels: int64 [B, 2], of the pair's label and of its
    caption: two pairs that agree in one of them are positives of each other; draws: int64 [B], a random number of each
    sample, from which the model in training draws what it needs, whatever the rank or the part of the batch; skipped:
    the pairs of this batch that could not be read; keep: int64 [B, K], the patches of each picture that the tower is to
    look at, all where there is none; texts: what the tokens are of; places: of the pairs in their source; theirs: a
    teacher's unit vectors of the images and of the texts, [B, E] each; seen: the model's own of the images, [B, D],
    where its image tower is locked and they are kept: the images then have no pixels; truth: what is at each pixel,
    where the pairs have masks; beside: of each kind that the loss asks for, one of the pair's companions; listed: of
    other kinds all of them, and of questions all options of one."""

    images: Tensor
    tokens: Tokens
    labels: Tensor
    keys: tuple[str, ...]
    draws: Tensor
    skipped: tuple[Skipped, ...] = ()
    keep: Tensor | None = None
    texts: tuple[str, ...] = ()
    places: tuple[int, ...] = ()
    theirs: tuple[Tensor, Tensor] | None = None
    seen: Tensor | None = None
    truth: Truth | None = None
    beside: Mapping[Kind, Beside] = field(default_factory=dict)
    listed: Mapping[Kind, Listed] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> Batch:
        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            tokens=self.tokens.to(device),
            labels=self.labels.to(device, non_blocking=True),
            draws=self.draws.to(device, non_blocking=True),
            keep=None if self.keep is None else self.keep.to(device, non_blocking=True),
            theirs=None if self.theirs is None else (self.theirs[0].to(device), self.theirs[1].to(device)),
            seen=None if self.seen is None else self.seen.to(device),
            truth=None if self.truth is None else self.truth.to(device),
            beside={kind: texts.to(device) for kind, texts in self.beside.items()},
            listed={kind: texts.to(device) for kind, texts in self.listed.items()},
        )

    def rows(self, rows: slice) -> Batch:
        """These rows alone."""
        return replace(
            self,
            images=self.images[rows],
            tokens=self.tokens.rows(rows),
            labels=self.labels[rows],
            keys=self.keys[rows],
            draws=self.draws[rows],
            keep=None if self.keep is None else self.keep[rows],
            texts=self.texts[rows],
            places=self.places[rows],
            theirs=None if self.theirs is None else (self.theirs[0][rows], self.theirs[1][rows]),
            seen=None if self.seen is None else self.seen[rows],
            truth=None if self.truth is None else self.truth.rows(rows),
            beside={kind: texts.rows(rows) for kind, texts in self.beside.items()},
            listed={kind: texts.rows(rows) for kind, texts in self.listed.items()},
        )

    def __len__(self) -> int:
        return self.images.shape[0]


def fraction_of(text: str) -> float:
    """A number in [0, 1) that depends on `text` alone, for splits that never move."""
    return int.from_bytes(hashlib.sha1(text.encode()).digest()[:8], "big") / 2**64


def label_id(label: str) -> int:
    """A 63-bit number for a label: equal labels, equal numbers, in every process."""
    return int.from_bytes(hashlib.sha1(label.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1


def split(source: Source, share: float) -> tuple[Source, Subset]:
    """By a hash of each key: (the rest, about `share` of the pairs)."""
    if not share:
        return source, Subset(source, np.zeros(0, np.uint32))
    keys = source.keys()
    held = np.concatenate([_fractions_of(some) < share for some in iter(lambda: [*islice(keys, _AT_ONCE)], [])])
    indices = np.arange(len(source), dtype=np.uint32)
    return Subset(source, indices[~held]), Subset(source, indices[held])


def _fractions_of(texts: Sequence[str]) -> NDArray[np.float64]:
    """`fraction_of` each, to the bit."""
    digests = b"".join([hashlib.sha1(text.encode()).digest() for text in texts])
    rows = np.frombuffer(digests, np.uint8).reshape(len(texts), hashlib.sha1().digest_size)
    return rows[:, :8].copy().view(">u8")[:, 0].astype(np.float64) / 2.0**64


def is_image_file(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


_AT_ONCE = 1 << 16  # keys
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})

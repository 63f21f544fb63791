"""A model on a data set of masks: each picture is asked for its own labels, at its own size.

Shapes: N pictures, C names, Q queries, H, W pixels of a picture.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightword.data.masked import Masked, MaskedPicture
from sightword.data.pairs import Skipped, fraction_of
from sightword.dense.names import check_names
from sightword.dense.scorer import PatchScorer
from sightword.dense.segmentation import Segmentation
from sightword.dense.segmenter import Segmenter
from sightword.embedding.base import BaseEmbedder
from sightword.embedding.embedder import Embedder
from sightword.errors import ImageError, RequestError
from sightword.evaluation.segmentation import Overlap, overlap
from sightword.labels.prompts import PLAIN


class LabelSets:
    """The segmenters of a model for any of these names; each name is embedded once. Raises RequestError for names that
    cannot be told apart, and a model that segments nothing."""

    def __init__(self, embedder: BaseEmbedder, names: Sequence[str], templates: Sequence[str] = PLAIN) -> None:
        if not isinstance(embedder, Embedder):
            raise RequestError("segmentation needs the model itself: an ONNX export gives no scores of pixels")
        self.whole = Segmenter(embedder, names, templates)
        self._row = {query: row for row, query in enumerate(self.whole.queries)}

    def __call__(self, labels: Sequence[str] | Mapping[str, Sequence[str]]) -> Segmenter:
        """labels: in their order, of the names; or label -> all that it is called."""
        named = check_names(labels)
        owners = sorted((name, at) for at, of in enumerate(named.values()) for name in of)
        made = copy.copy(self.whole)
        made.labels, made.queries = tuple(named), tuple(name for name, _ in owners)
        made.owners = np.array([at for _, at in owners], np.int16)
        made.head_QD = self.whole.head_QD[[self._row[query] for query in made.queries]]
        return made


@dataclass(frozen=True)
class Opened:
    """A picture of a data set of masks, read. truth: int16 [H, W], places in `labels`, VOID where none counts."""

    key: str
    image: Image.Image
    labels: tuple[str, ...]
    truth: NDArray[np.int16]


def names_of(data: Masked) -> tuple[str, ...]:
    """All that any of the pictures is asked for, sorted."""
    return tuple(sorted({label for picture in data.pictures for label in picture.labels}))


def opened(pictures: Sequence[MaskedPicture], skipped: list[Skipped]) -> Iterator[Opened]:
    """One after the other; those that cannot be read join `skipped`. Raises RequestError for a mask that is wrong."""
    for picture in pictures:
        try:
            yield Opened(picture.key, picture.image(), picture.labels, picture.mask())
        except ImageError as error:
            skipped.append(Skipped(picture.key, error.reason))


def fingerprint(data: Masked) -> str:
    """SHA-256 of keys, labels, pixels and masks. Raises RequestError for a mask that is wrong."""
    digest = hashlib.sha256()
    skipped: list[Skipped] = []
    for one in opened(data.pictures, skipped):
        digest.update("\0".join((one.key, *one.labels, "")).encode("utf-8", "surrogatepass"))
        digest.update(f"{one.image.size} {one.truth.shape}".encode())
        digest.update(one.image.tobytes())
        digest.update(one.truth.astype("<i2").tobytes())
    for skip in skipped:
        digest.update(f"{skip.key}\0unreadable".encode("utf-8", "surrogatepass"))
    return f"pixels:{digest.hexdigest()}"


def way_of(embedder: BaseEmbedder) -> dict[str, Any]:
    """How this model segments: the rule of its last block, or `trained` where a dense part is, and all that its scores
    depend on. Raises RequestError for a model that segments nothing."""
    whole = LabelSets(embedder, ("a", "b")).whole
    told: dict[str, Any] = {"rule": "trained"}
    if isinstance(whole.scorer, PatchScorer):
        told = {"rule": whole.scorer.rule, "scale": whole.scorer.scale}
    elif whole.embedder.model.dense is not None:
        told["scale"] = float(whole.embedder.model.dense.log_scale.detach().exp())
    return {**told, "window": whole.slide.size, "short": whole.slide.short, "step": whole.slide.step}


def by_hash(data: Masked, count: int) -> list[MaskedPicture]:
    """So many of the pictures, by a hash of each key, so that nobody chose."""
    return sorted(data.pictures, key=lambda picture: fraction_of(f"shown {picture.key}"))[:count]


def segment_all(
    sets: LabelSets, data: Masked, progress: Callable[[int], None] | None = None
) -> tuple[list[Overlap], list[Skipped]]:
    """What each picture got, and those that could not be read. Raises RequestError for a mask that is wrong."""
    found: list[Overlap] = []
    skipped: list[Skipped] = []
    for one in opened(data.pictures, skipped):
        found.append(judged(sets(one.labels).predict(one.image), one))
        if progress is not None:
            progress(len(found) + len(skipped))
    return found, skipped


def judged(segmentation: Segmentation, one: Opened) -> Overlap:
    """Raises RequestError where the mask is not of the picture's size; the picture is named."""
    try:
        return overlap(segmentation.mask, one.truth, one.labels)
    except RequestError as wrong:
        raise RequestError(f"{one.key}: {wrong}") from None


def names_apart(names: Sequence[str], aliases: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Of each name that has such: itself and its further names, without those that could be another's."""
    owners: dict[str, set[str]] = {}
    for name in names:
        for alias in aliases.get(name, ()):
            owners.setdefault(alias, set()).add(name)
    own = {alias for alias, of in owners.items() if len(of) == 1} - {*names}
    found = {name: (name, *(one for one in dict.fromkeys(aliases.get(name, ())) if one in own)) for name in names}
    return {name: called for name, called in found.items() if len(called) > 1}

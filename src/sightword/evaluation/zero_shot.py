"""Zero-shot classification, measured: every picture of a test against every name, plain prompt beside ensemble.

Shapes: N pictures, C names, D joint space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightword.data.pairs import Pair, Pairs, Skipped
from sightword.embedding.base import Vectors
from sightword.embedding.embedder import Embedder
from sightword.errors import ImageError, SightwordError
from sightword.evaluation.calibration import softmax
from sightword.evaluation.classification import logits
from sightword.evaluation.metrics import ranks
from sightword.evaluation.rows import Row, share_row
from sightword.labels.zero_shot import zero_shot_head

Templates = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Pictures:
    """Pairs that could be read, with their vectors [N, D]."""

    pairs: tuple[Pair, ...]
    vectors: Vectors
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class Judged:
    """How each picture fared. truth: [N], index of its name; best: [N, K], the K best names; scores: [N, K], their
    softmax over all names; rank: [N], how many other names scored at least as high as
    the true one: a tie never flatters."""

    names: tuple[str, ...]
    truth: NDArray[np.int64]
    best: NDArray[np.int64]
    scores: Vectors
    rank: NDArray[np.int64]

    def hits(self, k: int) -> NDArray[np.bool_]:
        return self.rank < k


def embed_pairs(embedder: Embedder, pairs: Pairs, progress: Callable[[int], None] | None = None) -> Pictures:
    """Raises SightwordError where not one picture can be read."""
    errors: dict[int, ImageError] = {}
    vectors = embedder.embed_images((pair.image for pair in pairs), skipped=errors, progress=progress)
    skipped = tuple(Skipped(pairs[i].key, error.reason) for i, error in errors.items())
    if len(pairs) and not len(vectors):
        raise SightwordError(f"none of the {len(pairs)} pictures could be read, the first: {errors[0]}")
    return Pictures(tuple(pair for i, pair in enumerate(pairs) if i not in errors), vectors, skipped)


def judge(
    embedder: Embedder, pictures: Pictures, names: Sequence[str], templates: Sequence[str], keep: int = 5
) -> Judged:
    """Classify every picture among `names`. Its own name must be one of them."""
    place = {name: i for i, name in enumerate(names)}
    truth_N = np.array([place[pair.name] for pair in pictures.pairs], dtype=np.int64)
    logits_NC = logits(embedder, pictures.vectors, zero_shot_head(embedder, names, templates))
    scores_NC = softmax(logits_NC)
    best_NK = np.argsort(-scores_NC, axis=1, kind="stable")[:, :keep]
    return Judged(
        names=tuple(names),
        truth=truth_N,
        best=best_NK,
        scores=np.take_along_axis(scores_NC, best_NK, axis=1).astype(np.float32),
        rank=ranks(logits_NC, truth_N),
    )


def accuracy_rows(test: str, split: str, prompt: str, judged: Judged, ks: Sequence[int] = (1, 5)) -> list[Row]:
    n, classes = len(judged.rank), len(judged.names)
    return [share_row(test, split, prompt, f"top{k}", int(judged.hits(k).sum()), n, classes) for k in ks]

"""Pictures with what a model made of them: hits and misses that nobody chose.

Shapes: N pictures, C classes, K the best of them.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightword.data.images import ImageLike, flatten, open_image
from sightword.data.labelled import Labelled
from sightword.data.pairs import fraction_of
from sightword.evaluation.intervals import wilson
from sightword.evaluation.metrics import Scores, single_ranks

OF_EACH = 12  # hits and misses
_BEST = 5
_SIDE = 72  # pixels


@dataclass(frozen=True, slots=True)
class Guess:
    """score: softmax, in [0, 1]."""

    name: str
    score: float
    true: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """picture: a data URI. place: of the true name among all, from 1. group: where the picture comes from."""

    picture: str
    key: str
    name: str
    group: str
    hit: bool
    place: int
    best: tuple[Guess, ...]


@dataclass(frozen=True, slots=True)
class Gallery:
    """shown: hits, then misses. hits, n: of all pictures. mean_score: of the best names. claim: what that is, held
    against the share of hits: `too low`, `about right`, `too high`."""

    shown: tuple[Shown, ...]
    hits: int
    n: int
    classes: int
    mean_score: float
    claim: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def gallery(data: Labelled, scores_NC: Scores, of_each: int = OF_EACH) -> Gallery:
    """Of a test with one label a picture. scores_NC: softmax."""
    rank_N = single_ranks(scores_NC, data.labels)
    chosen = balanced(data.keys, rank_N < 1, of_each)
    shown = [_shown(data, i, scores_NC[i], int(rank_N[i])) for i in chosen]
    return whole(shown, rank_N < 1, float(scores_NC.max(axis=1).mean()), len(data.classes))


def balanced(keys: Sequence[str], hits_N: NDArray[np.bool_], of_each: int = OF_EACH) -> list[int]:
    """Places of hits, then of misses: in the order of a hash of the keys, so that nobody and nothing chose the good
    ones."""
    order = sorted(range(len(keys)), key=lambda i: fraction_of(keys[i]))
    return [i for i in order if hits_N[i]][:of_each] + [i for i in order if not hits_N[i]][:of_each]


def whole(shown: Sequence[Shown], hits_N: NDArray[np.bool_], mean_score: float, classes: int) -> Gallery:
    """The gallery of these, with what holds of all N pictures."""
    hits = int(hits_N.sum())
    low, high = wilson(hits, len(hits_N))
    claim = "too low" if mean_score < low else "too high" if mean_score > high else "about right"
    return Gallery(tuple(shown), hits, len(hits_N), classes, mean_score, claim)


def _shown(data: Labelled, i: int, scores_C: Scores, rank: int) -> Shown:
    best_K: Sequence[int] = np.argsort(-scores_C, kind="stable")[:_BEST].tolist()
    true = int(data.labels[i])
    return Shown(
        picture=thumbnail(data.images[i]),
        key=data.keys[i],
        name=data.classes[true],
        group=data.groups[i] if data.groups else "",
        hit=rank == 0,
        place=rank + 1,
        best=tuple(Guess(data.classes[k], float(scores_C[k]), k == true) for k in best_K),
    )


def thumbnail(image: ImageLike) -> str:
    """The picture, small and drawn on white, as a data URI."""
    picture = flatten(open_image(image), (255, 255, 255))
    picture.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"

"""Queries of retrieval with the best that they found: hits and misses that nobody chose.

Shapes: M texts, N pictures, D joint space, Q candidates, K the best of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightword.data.labelled import Captioned
from sightword.embedding.base import Vectors
from sightword.evaluation.gallery import balanced, thumbnail
from sightword.evaluation.retrieval import Ranks

SHOWN = 4  # hits, and misses, of each way
_BEST = 5


@dataclass(frozen=True, slots=True)
class Found:
    """name: the key of a picture, or a caption. picture: a data URI; empty of a caption. right: it belongs to the
    query."""

    name: str
    picture: str
    cosine: float
    right: bool


@dataclass(frozen=True, slots=True)
class Example:
    """query: a caption, or the key of a picture. picture: the one that belongs to the caption, or the query itself.
    place: of the right answer among all candidates, from 1; a tie counts against it, so it may be 2 where the right one
    is shown first."""

    query: str
    picture: str
    hit: bool
    place: int
    candidates: int
    best: tuple[Found, ...]


@dataclass(frozen=True)
class Examples:
    by_caption: tuple[Example, ...]
    by_picture: tuple[Example, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def retrieval_examples(
    data: Captioned, texts_MD: Vectors, images_ND: Vectors, ranks: tuple[Ranks, Ranks], of_each: int = SHOWN
) -> Examples:
    """ranks: of the captions, and of the pictures, as `retrieval_ranks` gives them."""
    captions, pictures = ranks
    by_caption = [
        Example(
            data.texts[m],
            thumbnail(data.images[data.image_of_text[m]]),
            bool(captions.rank[m] == 1),
            int(captions.rank[m]),
            captions.candidates,
            tuple(
                Found(data.keys[n], thumbnail(data.images[n]), cosine, bool(data.image_of_text[m] == n))
                for n, cosine in _best(images_ND, texts_MD[m])
            ),
        )
        for m in balanced([f"{m} {text}" for m, text in enumerate(data.texts)], captions.rank == 1, of_each)
    ]
    by_picture = []
    for query in balanced([data.keys[n] for n in pictures.image], pictures.rank == 1, of_each):
        n = int(pictures.image[query])
        best = tuple(
            Found(data.texts[m], "", cosine, bool(data.image_of_text[m] == n))
            for m, cosine in _best(texts_MD, images_ND[n])
        )
        rank = int(pictures.rank[query])
        by_picture.append(Example(data.keys[n], thumbnail(data.images[n]), rank == 1, rank, pictures.candidates, best))
    return Examples(tuple(by_caption), tuple(by_picture))


def _best(candidates_QD: Vectors, query_D: NDArray[np.floating[Any]]) -> Sequence[tuple[int, float]]:
    """Places and cosines of the best, best first."""
    cosine_Q = candidates_QD.astype(np.float64, copy=False) @ query_D.astype(np.float64)
    return [(int(place), float(cosine_Q[place])) for place in np.argsort(-cosine_Q, kind="stable")[:_BEST]]

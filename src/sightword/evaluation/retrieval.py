"""Retrieval: how high each caption ranks its image, and each image the best of its captions.

The ranks are exact and the matrix of all scores never exists. Two passes: own scores first, a row at a time in float64;
then tiles of all scores in float32, of which only the numbers of better and of near ones are kept. A score that is
within rounding of the own one is computed again in float64, so that neither the shape of a tile nor the order of a sum
decides a rank. What scores the same as the own one counts as better: a tie never flatters.

Protocol: CLIP (arXiv 2103.00020, Appendix E). A caption is given the one right image; an image counts as found where
any of its captions is among the first k. Other captions of the same image are no rivals of the best one.

Shapes: M texts, N images, D joint space, Q queries (texts one way, images the other); m, n of a tile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightword.errors import RequestError
from sightword.evaluation.estimates import Estimate
from sightword.evaluation.intervals import Z95, score_interval
from sightword.evaluation.rows import Row

Floats = NDArray[np.float32] | NDArray[np.float64] | NDArray[np.float16]
Float64 = NDArray[np.float64]
Ints = NDArray[np.int64]

_TILE = (2048, 2048)  # texts x images: 16 MiB of scores
_GATHER = 2048  # rows of vectors that are copied out in float64 at a time
IMAGES, TEXTS = "image_retrieval", "text_retrieval"


@dataclass(frozen=True)
class Ranks:
    """What became of each query. rank: [Q], 1 is the first place. tied: [Q], how many rivals scored exactly as high as
    the right answer; all of them stand before it. image: [Q], the image that a query belongs to. candidates: among how
    many each looked."""

    rank: Ints
    tied: Ints
    image: Ints
    candidates: int


@dataclass(frozen=True)
class Recall:
    """R@k: the share of the queries whose right answer is among the first k, with its 95 % interval by Wilson's formula
    for `effective_n` queries. That is n for images; captions of one image tend to be found or missed together and
    are worth fewer independent ones (n over the design effect, Kish 1965)."""

    k: int
    value: float
    low: float
    high: float
    n: int
    effective_n: float


@dataclass(frozen=True)
class Direction:
    """One way of retrieval. recalls: one for each k. mean_rank and median_rank: 1 is best; the
    intervals are the normal one and Woodruff's (1952), both with images as clusters. tied: how many queries have a
    tie with a rival. without_ties: each R@k, were every tie won."""

    recalls: tuple[Recall, ...]
    mean_rank: Estimate
    median_rank: Estimate
    n: int
    candidates: int
    tied: int
    without_ties: tuple[float, ...]


@dataclass(frozen=True)
class LengthBand:
    """Captions of `shortest` to `longest`, both included, in the unit that the lengths were given in, looking for their
    images."""

    shortest: int
    longest: int
    recalls: tuple[Recall, ...]
    n: int


@dataclass(frozen=True)
class Retrieval:
    """images: images found by captions (image retrieval). texts: captions found by images (text retrieval). ranks: of
    the captions and of the images, as `retrieval_ranks` gives them. by_length: image retrieval, by the length of the
    caption."""

    images: Direction
    texts: Direction
    ranks: tuple[Ranks, Ranks]
    by_length: tuple[LengthBand, ...] = ()

    def rows(self, test: str, split: str, prompt: str) -> list[Row]:
        """R@k both ways, as rows of evidence."""
        return [
            Row(test, split, prompt, f"{name}_recall@{r.k}", r.value, r.low, r.high, r.n, way.candidates)
            for name, way in ((IMAGES, self.images), (TEXTS, self.texts))
            for r in way.recalls
        ]

    def to_json(self) -> dict[str, Any]:
        return {
            IMAGES: asdict(self.images),
            TEXTS: asdict(self.texts),
            "by_length": [asdict(band) for band in self.by_length],
        }


def retrieval(
    texts_MD: Floats,
    images_ND: Floats,
    image_of_text: Ints,
    ks: Sequence[int] = (1, 5, 10),
    lengths: Ints | None = None,
    bands: int = 4,
) -> Retrieval:
    """R@k both ways with intervals, mean and median rank, and a breakdown by caption length.

    texts_MD, images_ND: unit vectors. image_of_text: [M], the place of each caption's image. An image without captions
    is a candidate and no query. lengths: [M], of the captions, in tokens or words; they are put into `bands` bands of
    about as many captions each. Two captions of the same words should be given the same vector (embed each once), or
    which of them wins is a matter of rounding.
    Raises RequestError where the arrays do not fit together or hold what is not finite.
    """
    if not ks or min(ks) < 1:
        raise RequestError(f"R@k needs k of 1 and more, not {list(ks)}")
    images, texts = retrieval_ranks(texts_MD, images_ND, image_of_text)
    by_length: list[LengthBand] = []
    if lengths is not None:
        if len(lengths) != len(images.rank):
            raise RequestError(f"{len(lengths)} lengths for {len(images.rank)} captions")
        for band in _bands(np.asarray(lengths), bands):
            of_band = lengths[band]
            recalls = tuple(_recall(images, band, k) for k in ks)
            by_length.append(LengthBand(int(of_band.min()), int(of_band.max()), recalls, int(band.sum())))
    return Retrieval(_direction(images, ks), _direction(texts, ks), (images, texts), tuple(by_length))


def retrieval_ranks(
    texts_MD: Floats, images_ND: Floats, image_of_text: Ints, tile: tuple[int, int] = _TILE
) -> tuple[Ranks, Ranks]:
    """The ranks of captions among images (of each caption's image), and of images among captions (of the best own
    caption). tile: texts and images whose scores are in memory at a time. Raises RequestError as `retrieval` does."""
    image_of_text = _checked(texts_MD, images_ND, image_of_text)
    own_M = _products(texts_MD, np.arange(len(texts_MD)), images_ND, image_of_text)
    best_N = np.full(len(images_ND), -np.inf)
    np.maximum.at(best_N, image_of_text, own_M)
    asked_N = np.isfinite(best_N)

    # A float32 sum of D products is never off by more than this, in whatever order (Higham 2002, 3.1; 4 for rounding
    # the vectors and the limits). What is seen is a hundredth of it, but equal vectors can all be off the same way.
    size = _longest(texts_MD) * _longest(images_ND)
    margin = size * float(np.finfo(np.float32).eps) * (texts_MD.shape[1] / 2 + 4)
    rounding = 1e-12 * size  # of the same products in float64: what is nearer than this is a tie
    captions = _Rivals(own_M, margin, rounding)
    images = _Rivals(np.where(asked_N, best_N, np.inf), margin, rounding)

    # One piece of memory for all tiles: fresh pages for each would cost more than the counting.
    memory = np.empty(min(tile[0], len(texts_MD)) * min(tile[1], len(images_ND)), dtype=np.float32)
    for rows in _slices(len(texts_MD), tile[0]):
        text_mD = np.asarray(texts_MD[rows], dtype=np.float32)
        own_image_m = image_of_text[rows]
        for columns in _slices(len(images_ND), tile[1]):
            image_nD = np.asarray(images_ND[columns], dtype=np.float32)
            scores_mn = memory[: len(text_mD) * len(image_nD)].reshape(len(text_mD), len(image_nD))
            np.matmul(text_mD, image_nD.T, out=scores_mn)
            inside = np.flatnonzero((own_image_m >= columns.start) & (own_image_m < columns.stop))
            # An own pair is no rival, in either direction.
            scores_mn[inside, own_image_m[inside] - columns.start] = -np.inf

            def again(
                m: Ints, n: Ints, rows: slice = rows, columns: slice = columns, several: int = scores_mn.size // 32
            ) -> Float64:
                """Scores of single pairs of the tile, in float64. Many at a time are cheaper as one product."""
                if len(m) <= several:
                    return _products(texts_MD, m + rows.start, images_ND, n + columns.start)
                whole = texts_MD[rows].astype(np.float64) @ images_ND[columns].astype(np.float64).T
                return np.asarray(whole[m, n])

            captions.count(scores_mn, rows, again)
            images.count(scores_mn.T, columns, lambda n, m, again=again: again(m, n))  # type: ignore[misc]

    asked = np.flatnonzero(asked_N)
    return (
        Ranks(captions.above + captions.tied + 1, captions.tied, image_of_text, len(images_ND)),
        Ranks((images.above + images.tied + 1)[asked], images.tied[asked], asked, len(texts_MD)),
    )


class _Rivals:
    """Counts, for each query, the rivals above its own score and those that tie with it."""

    def __init__(self, own_Q: Float64, margin: float, rounding: float) -> None:
        self.own, self.rounding = own_Q, rounding
        self.low = (own_Q - margin).astype(np.float32)
        self.high = (own_Q + margin).astype(np.float32)
        self.above = np.zeros(len(own_Q), dtype=np.int64)
        self.tied = np.zeros(len(own_Q), dtype=np.int64)

    def count(self, scores: NDArray[np.float32], queries: slice, again: Callable[[Ints, Ints], Float64]) -> None:
        """scores: those of `queries` (rows) with some of their candidates. again: from places in `scores` to exact
        scores."""
        low, high = self.low[queries, None], self.high[queries, None]
        surely = _row_sums(scores > high)
        near = np.flatnonzero(_row_sums(scores >= low) != surely)
        self.above[queries] += surely
        if not len(near):
            return
        places, candidates = np.nonzero((scores[near] >= low[near]) & (scores[near] <= high[near]))
        places = near[places]
        ahead = again(places, candidates) - self.own[queries][places]
        self.above[queries] += np.bincount(places[ahead > self.rounding], minlength=len(surely))
        self.tied[queries] += np.bincount(places[np.abs(ahead) <= self.rounding], minlength=len(surely))


def _row_sums(true: NDArray[np.bool_]) -> Ints:
    # int64 sums of booleans are several times slower; 65,535 is more than any tile is wide.
    return np.add.reduce(true.view(np.uint8), axis=1, dtype=np.uint16).astype(np.int64)


def _products(left: Floats, at_left: Ints, right: Floats, at_right: Ints) -> Float64:
    """Inner products of chosen rows of both sides, in float64."""
    values = np.empty(len(at_left))
    for part in _slices(len(values), _GATHER):
        pair = left[at_left[part]].astype(np.float64), right[at_right[part]].astype(np.float64)
        values[part] = np.einsum("qd,qd->q", *pair)
    return values


def _slices(count: int, step: int) -> Iterator[slice]:
    return (slice(at, min(at + step, count)) for at in range(0, count, step))


def _longest(vectors: Floats) -> float:
    """The largest length of a vector."""
    parts = (vectors[part].astype(np.float64) for part in _slices(len(vectors), _GATHER))
    return max(float(np.linalg.norm(part, axis=1).max()) for part in parts)


def _checked(texts_MD: Floats, images_ND: Floats, image_of_text: Ints) -> Ints:
    for name, vectors in (("texts", texts_MD), ("images", images_ND)):
        if vectors.ndim != 2 or 0 in vectors.shape:
            raise RequestError(f"{name}: vectors are [number, dimension] and at least one, not {list(vectors.shape)}")
        if not all(np.isfinite(vectors[part]).all() for part in _slices(len(vectors), _GATHER)):
            raise RequestError(f"{name}: a vector holds what is not finite")
    if texts_MD.shape[1] != images_ND.shape[1]:
        raise RequestError(f"texts have {texts_MD.shape[1]} dimensions and images {images_ND.shape[1]}")
    image_of_text = np.asarray(image_of_text)
    if image_of_text.shape != (len(texts_MD),) or image_of_text.dtype.kind not in "iu":
        raise RequestError(
            f"image_of_text: one whole number a text ({len(texts_MD)}), not {image_of_text.dtype} "
            f"{list(image_of_text.shape)}"
        )
    if image_of_text.min() < 0 or image_of_text.max() >= len(images_ND):
        wrong = int(np.flatnonzero((image_of_text < 0) | (image_of_text >= len(images_ND)))[0])
        raise RequestError(f"text {wrong} belongs to image {image_of_text[wrong]}, of {len(images_ND)} images")
    return image_of_text.astype(np.int64)


def _direction(ranks: Ranks, ks: Sequence[int]) -> Direction:
    every = np.ones(len(ranks.rank), dtype=np.bool_)
    mean, variance = _clustered(ranks.rank, ranks.image)
    half = Z95 * math.sqrt(variance)
    return Direction(
        recalls=tuple(_recall(ranks, every, k) for k in ks),
        mean_rank=Estimate(mean, max(1.0, mean - half), min(float(ranks.candidates), mean + half)),
        median_rank=_median(ranks),
        n=len(ranks.rank),
        candidates=ranks.candidates,
        tied=int((ranks.tied > 0).sum()),
        without_ties=tuple(float((ranks.rank - ranks.tied <= k).mean()) for k in ks),
    )


def _recall(ranks: Ranks, which: NDArray[np.bool_], k: int) -> Recall:
    hits = ranks.rank[which] <= k
    n, value = len(hits), float(hits.mean())
    effective = _effective(hits, ranks.image[which])
    low, high = score_interval(value, effective)
    return Recall(k, value, low, high, n, effective)


def _median(ranks: Ranks) -> Estimate:
    """Woodruff: the ends of the interval of the share 1/2, read off the distribution of the ranks."""
    median = float(np.median(ranks.rank))
    effective = _effective(ranks.rank <= median, ranks.image)
    low, high = np.quantile(ranks.rank, score_interval(0.5, effective), method="inverted_cdf")
    return Estimate(median, float(low), float(high))


def _effective(hits: NDArray[np.bool_], image: Ints) -> float:
    """How many independent queries are as good as these: n over the design effect, which is never taken below 1."""
    n, clusters, value = len(hits), len(np.unique(image)), float(hits.mean())
    if clusters in (1, n):  # one image says nothing of how images differ
        return float(clusters)
    plain = value * (1 - value) / n
    _, variance = _clustered(hits, image)
    return float(n) if variance <= plain else n * plain / variance


def _clustered(values: NDArray[Any], image: Ints) -> tuple[float, float]:
    """The mean, and its variance with images drawn as wholes (the linearised one of a ratio)."""
    sizes = np.bincount(image)
    sums = np.bincount(image, weights=values)[sizes > 0]
    sizes = sizes[sizes > 0]
    mean, clusters = float(sums.sum() / sizes.sum()), len(sizes)
    if clusters < 2:
        return mean, 0.0
    residual = sums - mean * sizes
    return mean, float(clusters / (clusters - 1) * (residual**2).sum() / sizes.sum() ** 2)


def _bands(lengths: Ints, count: int) -> Iterator[NDArray[np.bool_]]:
    """Masks of bands of about as many captions each. Captions of one length are never divided, so that there can be
    fewer bands."""
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, count + 1)[1:], method="inverted_cdf"))
    place = np.searchsorted(edges, lengths)
    return (place == at for at in range(len(edges)))

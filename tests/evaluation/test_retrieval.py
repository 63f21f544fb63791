"""Retrieval against the whole matrix, against clip-benchmark, with ties, and within its memory."""

from __future__ import annotations

import json
import tracemalloc
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightword.errors import RequestError
from sightword.evaluation.intervals import wilson
from sightword.evaluation.retrieval import Ranks, _clustered, retrieval, retrieval_ranks


def make(images: int = 60, each: int = 5, dim: int = 16, lean: float = 0.8, seed: int = 0):
    """Texts [M, D], images [N, D] and the image of each text, in no order."""
    rng = np.random.default_rng(seed)
    image_of_text = rng.permutation(np.repeat(np.arange(images), each))
    images_ND = rng.normal(size=(images, dim))
    texts_MD = lean * images_ND[image_of_text] + rng.normal(size=(images * each, dim))
    unit = [(x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (texts_MD, images_ND)]
    return unit[0], unit[1], image_of_text


def by_hand(texts_MD, images_ND, image_of_text):
    """The ranks from the whole matrix in float64, one query at a time; what is within 1e-12 is a tie."""
    scores_MN = texts_MD.astype(np.float64) @ images_ND.astype(np.float64).T
    captions, images = [], []
    for m, own in enumerate(image_of_text):
        others = np.delete(scores_MN[m], own) - scores_MN[m, own]
        captions.append((1 + (others > -1e-12).sum(), (np.abs(others) <= 1e-12).sum()))
    for n in np.unique(image_of_text):
        mine = image_of_text == n
        others = scores_MN[~mine, n] - scores_MN[mine, n].max()
        images.append((1 + (others > -1e-12).sum(), (np.abs(others) <= 1e-12).sum()))
    return np.array(captions), np.array(images)


def same(ranks: Ranks, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(np.stack([ranks.rank, ranks.tied], axis=1), expected)


@pytest.mark.parametrize("tile", [(2048, 2048), (7, 11), (1, 60), (300, 1)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_ranks_are_those_of_the_whole_matrix_whatever_the_tile(tile: tuple[int, int], dtype: type):
    texts, images, of = make()
    texts, images = texts.astype(dtype), images.astype(dtype)
    captions, pictures = by_hand(texts, images, of)
    found = retrieval_ranks(texts, images, of, tile=tile)
    same(found[0], captions)
    same(found[1], pictures)


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    images=st.integers(1, 6),
    texts=st.integers(1, 12),
    tile=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_ties_never_flatter(data: st.DataObject, images: int, texts: int, tile: tuple[int, int]):
    """Vectors of few values, so that almost everything ties, among them all-equal ones."""
    entry = st.integers(-1, 1)
    numbers = data.draw(st.lists(st.lists(entry, min_size=3, max_size=3), min_size=images + texts, max_size=99))
    vectors = np.array(numbers, dtype=np.float32)[: images + texts] / np.float32(3)
    of = np.array(data.draw(st.lists(st.integers(0, images - 1), min_size=texts, max_size=texts)))
    captions, pictures = by_hand(vectors[images:], vectors[:images], of)
    found = retrieval_ranks(vectors[images:], vectors[:images], of, tile=tile)
    same(found[0], captions)
    same(found[1], pictures)


@pytest.mark.parametrize("dim", [16, 768])
def test_a_collapsed_model_finds_nothing_and_says_that_all_is_tied(dim: int):
    texts, images, of = make(dim=dim)
    # 1/sqrt(768) added up 768 times in float32 is off by far more than the usual rounding, always to the same side.
    one = np.float32(dim**-0.5)
    collapsed = retrieval(np.full_like(texts, one), np.full_like(images, one), of)
    for way, candidates in ((collapsed.images, 60), (collapsed.texts, 300)):
        assert [recall.value for recall in way.recalls] == [0, 0, 0]
        assert way.tied == way.n
        assert way.without_ties == (1, 1, 1)
        assert way.candidates == candidates
    assert collapsed.images.mean_rank.value == collapsed.images.median_rank.value == 60
    assert collapsed.texts.mean_rank.value == 296  # its own five captions are no rivals of one another


def test_scores_that_float32_cannot_tell_apart_are_told_apart():
    """Two images whose scores differ by 1e-9: float32 sums cannot order them, float64 can."""
    base = np.full(512, 1 / np.sqrt(512))
    worse = base.copy()
    worse[0] -= 1e-9 * np.sqrt(512)
    right, wrong = (
        retrieval_ranks(base[None], np.stack([base, worse]), np.array([0]))[0],
        retrieval_ranks(base[None], np.stack([base, worse]), np.array([1]))[0],
    )
    assert (right.rank[0], right.tied[0]) == (1, 0)
    assert (wrong.rank[0], wrong.tied[0]) == (2, 0)


@pytest.mark.skipif(find_spec("clip_benchmark") is None, reason="clip-benchmark is not installed")
def test_recall_is_clip_benchmarks():
    import torch
    from clip_benchmark.metrics.zeroshot_retrieval import batchify, recall_at_k

    texts, images, of = make(images=200, dim=32, lean=0.5)
    result = retrieval(texts, images, of)
    scores = torch.from_numpy(texts @ images.T)
    positive = torch.zeros_like(scores, dtype=torch.bool)
    positive[torch.arange(len(scores)), torch.from_numpy(of)] = True
    for ours, left, right in ((result.images, scores, positive), (result.texts, scores.T, positive.T)):
        for recall in ours.recalls:
            theirs = (batchify(recall_at_k, left, right, 64, "cpu", k=recall.k) > 0).float().mean().item()
            assert 0.05 < recall.value < 0.999
            assert recall.value == pytest.approx(theirs, abs=1e-6)


def test_the_matrix_of_all_scores_never_exists():
    texts, images, of = make(images=2000, each=5, dim=8)
    whole = len(texts) * len(images) * 4
    tracemalloc.start()
    retrieval_ranks(texts, images, of, tile=(512, 512))
    most = tracemalloc.get_traced_memory()[1]
    # A collapsed model is the worst case: every score is near its own.
    tracemalloc.reset_peak()
    retrieval_ranks(np.ones_like(texts[:2000]), np.ones_like(images), of[:2000] * 0 + np.arange(2000), tile=(512, 512))
    collapsed = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < whole / 10
    assert collapsed < 512 * 512 * 8 * 10


def test_images_without_captions_are_candidates_and_no_queries():
    texts, images, of = make(images=20)
    keep = of != 3
    result = retrieval(texts[keep], images, of[keep])
    assert result.texts.n == 19
    assert result.images.candidates == 20
    captions, pictures = by_hand(texts[keep], images, of[keep])
    found = retrieval_ranks(texts[keep], images, of[keep])
    same(found[0], captions)
    same(found[1], pictures)
    np.testing.assert_array_equal(found[1].image, np.delete(np.arange(20), 3))


def test_rows_and_intervals():
    texts, images, of = make()
    result = retrieval(texts, images, of)
    rows = result.rows("flickr30k", "test", "plain")
    assert [row.metric for row in rows][:4] == [f"image_retrieval_recall@{k}" for k in (1, 5, 10)] + [
        "text_retrieval_recall@1"
    ]
    assert {row.n for row in rows} == {300, 60}
    assert all(row.low <= row.value <= row.high for row in rows)
    first = result.texts.recalls[0]
    assert first.effective_n == 60
    assert (first.low, first.high) == pytest.approx(wilson(round(first.value * 60), 60))
    assert result.images.recalls[0].effective_n <= 300
    json.dumps(result.to_json(), allow_nan=False)
    captions, _ = by_hand(texts, images, of)
    assert result.images.mean_rank.value == pytest.approx(captions[:, 0].mean())
    assert result.images.median_rank.value == np.median(captions[:, 0])


def test_captions_that_share_their_fate_count_as_few():
    """Five copies of each caption: as good as one of each."""
    texts, images, of = make(each=1)
    one = retrieval(texts, images, of).images.recalls[0]
    # Copies of a caption have one image and are no rivals of each other.
    five = retrieval(np.repeat(texts, 5, axis=0), images, np.repeat(of, 5)).images.recalls[0]
    assert five.n == 5 * one.n
    assert five.effective_n == pytest.approx(one.n, rel=0.03)
    assert (five.low, five.high) == pytest.approx((one.low, one.high), abs=0.005)


def test_intervals_of_clustered_queries_hold_what_they_promise():
    """1,000 experiments in which an image decides how often its five captions are found (truth 0.6)."""
    from sightword.evaluation.retrieval import _recall

    rng = np.random.default_rng(0)
    image, inside, mean_inside = np.repeat(np.arange(100), 5), 0, 0
    for _ in range(1000):
        chance = rng.beta(1.5, 1, size=100)[image]
        hits = rng.random(500) < chance
        ranks = Ranks(np.where(hits, 1, 2), np.zeros(500, dtype=np.int64), image, 100)
        recall = _recall(ranks, np.ones(500, dtype=bool), 1)
        inside += recall.low <= 0.6 <= recall.high
        mean, variance = _clustered(ranks.rank, image)
        mean_inside += abs(mean - 1.4) <= 1.96 * variance**0.5
    assert 0.93 <= inside / 1000 <= 0.97
    assert 0.93 <= mean_inside / 1000 <= 0.97


def test_by_length():
    texts, images, of = make()
    lengths = np.tile([3, 3, 3, 8, 8, 20], 50)
    result = retrieval(texts, images, of, lengths=lengths, bands=3)
    assert [(band.shortest, band.longest, band.n) for band in result.by_length] == [
        (3, 3, 150),
        (8, 8, 100),
        (20, 20, 50),
    ]
    captions, _ = by_hand(texts, images, of)
    for band in result.by_length:
        mine = captions[lengths == band.longest, 0]
        assert [r.value for r in band.recalls] == pytest.approx([(mine <= k).mean() for k in (1, 5, 10)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, i, of: (t[:, :5], i, of), "texts have 5 dimensions and images 16"),
        (lambda t, i, of: (t, i, of[:-1]), "image_of_text: one whole number a text"),
        (lambda t, i, of: (t, i, of.astype(float)), "image_of_text: one whole number a text"),
        (lambda t, i, of: (t, i, of + 1), "of 60 images"),
        (lambda t, i, of: (t * np.nan, i, of), "texts: a vector holds what is not finite"),
        (lambda t, i, of: (t, i[:0], of), "images: vectors are"),
    ],
)
def test_what_does_not_fit_is_refused(change, message: str):
    with pytest.raises(RequestError, match=message):
        retrieval(*change(*make()))


def test_wrong_k_and_lengths_are_refused():
    with pytest.raises(RequestError, match="k of 1 and more"):
        retrieval(*make(), ks=(0, 1))
    with pytest.raises(RequestError, match="3 lengths for 300 captions"):
        retrieval(*make(), lengths=np.array([1, 2, 3]))

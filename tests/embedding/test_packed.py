"""Packed texts against the tower on padded rows, which computes every token of every text."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sightword.data.pairs import Tokens
from sightword.embedding import packed
from sightword.embedding.packed import encode_packed, grow, shared_beginnings, sort_texts
from sightword.towers.text import TextConfig, TextTransformer

CONTEXT, END = 12, 9
texts = st.lists(st.lists(st.integers(0, 3), max_size=CONTEXT - 2), min_size=1, max_size=30)


@pytest.fixture(scope="module")
def tower() -> TextTransformer:
    torch.manual_seed(0)
    made = TextTransformer(TextConfig(vocabulary=10, context=CONTEXT, width=16, layers=3, heads=2), 8)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.4)
    return made.eval()


def rows(words: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Token id 0 is both a word and the padding, as in open_clip."""
    ids = np.zeros((len(words), CONTEXT), dtype=np.int64)
    for row, word in zip(ids, words, strict=True):
        row[: len(word) + 2] = [8, *word, END]
    return ids, np.array([len(word) + 2 for word in words])


@settings(max_examples=60, deadline=None)
@given(words=texts)
def test_the_same_as_padded_rows(tower: TextTransformer, words: list[list[int]]) -> None:
    ids, lengths = rows(words)
    with torch.inference_mode():
        expected = tower(Tokens(torch.from_numpy(ids), torch.from_numpy(lengths)))
        found = torch.full_like(expected, torch.nan)
        for which, vectors in encode_packed(tower, ids, lengths):
            found[torch.from_numpy(which)] = vectors
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_windows_and_pieces(tower: TextTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_NODES", 40)
    monkeypatch.setattr(packed, "_ROWS", 7)
    monkeypatch.setattr(packed, "_CONTEXT", 13)
    random = np.random.default_rng(0)
    ids, lengths = rows([random.integers(0, 4, random.integers(0, 11)).tolist() for _ in range(100)])
    with torch.inference_mode():
        expected = tower(Tokens(torch.from_numpy(ids), torch.from_numpy(lengths)))
        windows = list(encode_packed(tower, ids, lengths))
    assert len(windows) > 5
    assert sorted(np.concatenate([which for which, _ in windows])) == list(range(100))
    for which, vectors in windows:
        torch.testing.assert_close(vectors, expected[torch.from_numpy(which)], rtol=1e-5, atol=1e-5)


def test_a_shared_beginning_is_one_path() -> None:
    ids, lengths = rows([[1, 2, 3], [1, 2], [1, 2, 3], [2], [1, 2, 3, 0]])
    order = sort_texts(ids)
    shared = shared_beginnings(ids[order], lengths[order])
    tree = grow(ids[order], lengths[order], shared)
    # start; 1 2; an end for [1 2]; 3 and its end; 0 and its end; 2 and its end.
    assert len(tree.ids) == 1 + 2 + 1 + 2 + 2 + 2
    assert len(tree.ends) == 5
    assert tree.ends[list(order).index(0)] == tree.ends[list(order).index(2)]
    for group in tree.groups:
        for path in group.paths:
            assert tree.positions[path].tolist() == list(range(len(path)))
            assert tree.ids[path[-1]] == END

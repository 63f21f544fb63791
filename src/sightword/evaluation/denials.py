"""Whether a model reads denials: held-out pictures between a true text of their own and a false one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from sightword.data.pairs import Pair, Pairs
from sightword.embedding.embedder import Embedder
from sightword.evaluation.embedded_pairs import embed_pairs
from sightword.evaluation.rows import share_row

_CHOICES = {"presence": ("caption", "denied"), "absence": ("absent", "denied")}


def denial_rows(embedder: Embedder, pairs: Pairs) -> dict[str, Any]:
    """`presence`: how often a picture is nearer to its caption than to a text that denies what is there. `absence`: how
    often it is nearer to a true denial than to that false one, which no word for `not` tells apart. Of the pairs that
    have both texts, the first of each; two that are as near are wrong. Chance is 1/2."""
    pictures = embed_pairs(embedder, pairs)
    found = {}
    for name, kinds in _CHOICES.items():
        rows, texts = [], []
        for row, pair in enumerate(pictures.pairs):
            told = [*_firsts(pair, kinds)]
            if len(told) == 2:
                rows.append(row)
                texts += told
        if rows:
            vectors = embedder.embed_texts(texts, truncate=True)
            true_N, false_N = (np.sum(pictures.vectors[rows] * vectors[side::2], axis=1) for side in (0, 1))
            hits = int((true_N > false_N).sum())
            found[name] = share_row("held-out pairs", "validation", "plain", "accuracy", hits, len(rows), 2).to_json()
    return found


def scored(row: Mapping[str, Any], denials: Mapping[str, Any]) -> dict[str, Any]:
    """The rows of denials, and the mean of their values and that of `row` as `score`: a run is judged by all of them,
    as the best at captions alone is its start."""
    values = [float(one["value"]) for one in (row, *denials.values())]
    return {**denials, **({"score": sum(values) / len(values)} if denials else {})}


def _firsts(pair: Pair, kinds: Iterable[str]) -> Iterable[str]:
    for kind in kinds:
        if kind == "caption":
            yield pair.texts[0]
        elif pair.companions is not None:
            yield from getattr(pair.companions, kind)[:1]

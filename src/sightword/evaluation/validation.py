"""Watching a run: how often a held-out picture finds its own text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sightword.data.pairs import Pairs
from sightword.embedding.embedder import Embedder
from sightword.evaluation.rows import Row, share_row
from sightword.evaluation.zero_shot import embed_pairs


def validation_row(embedder: Embedder, pairs: Pairs, names: Sequence[str]) -> Row:
    """Top-1 of held-out pictures among `names`, with the plain prompt. A name too long for the model is cut."""
    pictures = embed_pairs(embedder, pairs)
    head_CD = embedder.embed_texts(names, truncate=True)
    best_N = (pictures.vectors @ head_CD.T).argmax(axis=1)
    hits = int(np.sum([names[best] == pair.name for best, pair in zip(best_N, pictures.pairs, strict=True)]))
    return share_row("held-out pairs", "validation", "plain", "top1", hits, len(best_N), len(names))

"""Choosing prompt templates with labelled pictures, on validation data only.

Forward selection: the template that scores best alone, then each time the one that raises the ensemble's score most,
until none does. The ensemble is the head of `zero_shot`: unit vectors averaged, brought to unit length.

A score on the samples that chose is flattering. What was chosen says on which data, and data for testing are refused.
How wrong the choice may be on new pictures: `evaluation.bounds`.

Shapes: T templates, C classes, D joint space, N samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightword.embedding.base import Vectors
from sightword.errors import RequestError
from sightword.labels.prompts import check_templates

Score = Callable[[NDArray[np.floating[Any]], NDArray[Any]], float]


@dataclass(frozen=True)
class PromptChoice:
    """templates: in the order in which they were taken, `scores` after each; the last is of all of them, on the samples
    that chose: too good for others. chosen_on: those samples, `n` of them. candidates: how many templates there were.
    weights [C, D]: the head."""

    templates: tuple[str, ...]
    scores: tuple[float, ...]
    chosen_on: str
    n: int
    candidates: int
    weights: Vectors

    def to_json(self) -> dict[str, Any]:
        return {
            "templates": list(self.templates),
            "scores": list(self.scores),
            "chosen_on": self.chosen_on,
            "n": self.n,
            "candidates": self.candidates,
        }


def refuse_test_data(split: str, purpose: str) -> None:
    """Raises RequestError for a split that is for testing. Whatever chooses something asks first."""
    if split.casefold().strip().startswith(("test", "eval")) or not split.strip():
        raise RequestError(
            f"{purpose}: split {split!r} is for testing, and nothing may be chosen on it; give the validation "
            "split, or hold out a part of the training data"
        )


def choose_templates(
    templates: Sequence[str],
    vectors_TCD: Vectors,
    features_ND: Vectors,
    labels: NDArray[Any],
    *,
    data: str,
    split: str,
    score: Score,
    most: int | None = None,
) -> PromptChoice:
    """vectors_TCD: the unit vectors of each template filled with each class. features_ND: unit vectors of the pictures
    of `split` of `data`. score: a metric of (scores [N, C], labels), as in `evaluation.metrics`. most: templates.

    Of templates that score alike the first is taken. Raises RequestError for a test split, and for vectors, features
    and labels that do not fit.
    """
    refuse_test_data(split, "choosing prompts")
    templates = check_templates(templates)
    _check(templates, vectors_TCD, features_ND, labels, most)
    total_CD = np.zeros(vectors_TCD.shape[1:], dtype=np.float64)
    left, taken, scores = list(range(len(templates))), list[int](), list[float]()
    while left and len(taken) < (most or len(templates)):
        reached = [score(features_ND @ _head(total_CD + vectors_TCD[t]).T, labels) for t in left]
        best = int(np.argmax(reached))
        if scores and reached[best] <= scores[-1]:
            break
        scores.append(reached[best])
        taken.append(left.pop(best))
        total_CD += vectors_TCD[taken[-1]]
    return PromptChoice(
        templates=tuple(templates[t] for t in taken),
        scores=tuple(scores),
        chosen_on=f"{data}, {split}",
        n=len(features_ND),
        candidates=len(templates),
        weights=_head(total_CD),
    )


def _head(total_CD: NDArray[np.float64]) -> Vectors:
    # A sum of nothing (prompts that cancel each other) stays nothing: such an ensemble scores badly, and is not taken.
    norm_C1 = np.linalg.norm(total_CD, axis=1, keepdims=True)
    return (total_CD / np.maximum(norm_C1, 1e-12)).astype(np.float32)


def _check(
    templates: Sequence[str], vectors_TCD: Vectors, features_ND: Vectors, labels: NDArray[Any], most: int | None
) -> None:
    if vectors_TCD.ndim != 3 or len(vectors_TCD) != len(templates):
        raise RequestError(f"vectors {list(vectors_TCD.shape)} for {len(templates)} templates: need [T, C, D]")
    if features_ND.ndim != 2 or features_ND.shape[1] != vectors_TCD.shape[2] or len(features_ND) != len(labels):
        raise RequestError(
            f"features {list(features_ND.shape)}, {len(labels)} labels and vectors {list(vectors_TCD.shape)}: need "
            "[N, D], N and [T, C, D]"
        )
    if not len(features_ND):
        raise RequestError("choosing prompts: there is not one labelled sample")
    if most is not None and most < 1:
        raise RequestError(f"at most {most} templates: need at least one")

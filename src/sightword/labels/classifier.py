"""The Classifier: labels, and a rule from features to scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from sightword.data.images import ImageLike
from sightword.embedding.base import BaseEmbedder, Vectors
from sightword.errors import ImageError, RequestError

Rule: TypeAlias = Literal["softmax", "sigmoid"]


@dataclass(frozen=True)
class Predictions:
    """scores [N, C], by the rule that the model was trained with.

    softmax, over the given labels: they say which of these labels fits best, and by how much; they are no probability
    that it is true: something that is none of the labels still gets scores that add up to 1. sigmoid, of a model as
    SigLIP: each label is judged by itself, so that all may be low, or several high; they are not calibrated either.
    """

    labels: tuple[str, ...]
    scores: Vectors
    rule: Rule = "softmax"

    def __len__(self) -> int:
        return len(self.scores)

    def top(self, k: int = 1) -> list[list[tuple[str, float]]]:
        """For each picture its k best (label, score), best first; all labels where there are fewer than k."""
        if k < 1:
            raise RequestError(f"top needs a k of at least 1, not {k}")
        best_NK = np.argsort(-self.scores, axis=1, kind="stable")[:, :k]
        return [[(self.labels[i], float(row[i])) for i in best] for row, best in zip(self.scores, best_NK, strict=True)]

    def best(self) -> list[str]:
        """For each picture the label with the highest score."""
        return [self.labels[i] for i in self.scores.argmax(axis=1)]


@dataclass(frozen=True)
class Classifier:
    """weights: [C, D], one unit vector a label. A logit is scale * cosine, + bias in a sigmoid model: whether there
    is one decides the rule of the scores."""

    embedder: BaseEmbedder
    labels: tuple[str, ...]
    weights: Vectors
    scale: float
    bias: float | None = None

    @property
    def rule(self) -> Rule:
        return "softmax" if self.bias is None else "sigmoid"

    def predict(
        self,
        images: Iterable[ImageLike],
        skipped: dict[int, ImageError] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Predictions:
        """Paths, PIL images, arrays or bytes to scores. `skipped` and `progress`: as in `Embedder.embed_images`."""
        return self.predict_features(self.embedder.embed_images(images, skipped=skipped, progress=progress))

    def predict_features(self, features_ND: Vectors) -> Predictions:
        """Unit vectors of pictures to scores."""
        logits_NC = self.scale * (features_ND @ self.weights.T)
        if self.bias is not None:
            return Predictions(self.labels, np.exp(-np.logaddexp(0, -logits_NC - self.bias)), self.rule)
        logits_NC -= logits_NC.max(axis=1, keepdims=True)
        exp_NC = np.exp(logits_NC)
        return Predictions(self.labels, exp_NC / exp_NC.sum(axis=1, keepdims=True), self.rule)

"""The Classifier: labels, and a rule from features to scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from sightword.data.images import ImageLike
from sightword.embedding.embedder import Embedder, Vectors
from sightword.errors import ImageError, RequestError


@dataclass(frozen=True)
class Predictions:
    """scores [N, C]: softmax over the given labels. They say which of these labels fits best, and by how much; they
    are no probability that it is true: something that is none of the labels still gets scores that add up to 1."""

    labels: tuple[str, ...]
    scores: Vectors

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
    """weights: [C, D], one unit vector a label. scale: what a cosine is multiplied with before the softmax."""

    embedder: Embedder
    labels: tuple[str, ...]
    weights: Vectors
    scale: float

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
        logits_NC -= logits_NC.max(axis=1, keepdims=True)
        exp_NC = np.exp(logits_NC)
        return Predictions(self.labels, exp_NC / exp_NC.sum(axis=1, keepdims=True))

"""Words to a classifier, without an example (CLIP, arXiv 2103.00020, sections 3.1.2 to 3.1.4).

For each label: fill every template, embed, average the unit vectors, bring the average to unit length. So an ensemble
of templates costs nothing once the head is there. Shapes: C labels, T templates, D joint space.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np

from sightword.embedding.embedder import Embedder, Vectors
from sightword.errors import RequestError
from sightword.labels.classifier import Classifier
from sightword.labels.prompts import PLAIN, check_labels, check_templates, fill

_KEPT = 16  # heads a model remembers
_heads: WeakKeyDictionary[Embedder, dict[tuple[tuple[str, ...], tuple[str, ...]], Vectors]] = WeakKeyDictionary()


def zero_shot(embedder: Embedder, labels: Sequence[str], templates: Sequence[str] = PLAIN) -> Classifier:
    """A classifier whose scores are the softmax, over these labels, of scale * cosine."""
    labels = check_labels(labels)
    return Classifier(embedder, labels, zero_shot_head(embedder, labels, templates), embedder.scale)


def zero_shot_head(embedder: Embedder, labels: Sequence[str], templates: Sequence[str] = PLAIN) -> Vectors:
    """Unit vectors [C, D], one a label. Remembered for as long as the embedder lives."""
    labels, templates = check_labels(labels), check_templates(templates)
    remembered = _heads.setdefault(embedder, {})
    key = (labels, templates)
    if key not in remembered:
        if len(remembered) >= _KEPT:
            del remembered[next(iter(remembered))]
        remembered[key] = _head(embedder, labels, templates)
    return remembered[key]


def _head(embedder: Embedder, labels: tuple[str, ...], templates: tuple[str, ...]) -> Vectors:
    total_CD = np.zeros((len(labels), embedder.dim), dtype=np.float32)
    for template in templates:
        total_CD += embedder.embed_texts([fill(template, label) for label in labels])
    norm_C1 = np.linalg.norm(total_CD, axis=1, keepdims=True)
    if not (norm_C1 > 0).all():
        raise RequestError("the prompts of a label cancel each other: use fewer templates")
    head_CD: Vectors = (total_CD / norm_C1).astype(np.float32)
    head_CD.setflags(write=False)  # it is shared
    return head_CD

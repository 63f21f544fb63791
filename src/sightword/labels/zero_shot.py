"""Words to a classifier, without an example (CLIP, arXiv 2103.00020, sections 3.1.2 to 3.1.4).

For each label: fill every template, embed, average the unit vectors, bring the average to unit length. So an ensemble
of templates costs nothing once the head is there. Shapes: C labels, T templates, D joint space.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np

from sightword.embedding.base import BaseEmbedder, Vectors
from sightword.errors import RequestError
from sightword.labels.classifier import Classifier
from sightword.labels.kept_heads import head_file, keep_head, read_head
from sightword.labels.prompts import PLAIN, check_labels, check_templates, fill

_KEPT = 16  # heads a model remembers
_PROMPTS = 8192  # embedded at a time: enough that many share their beginnings
_WORTH = 2000  # prompts from which a head is kept on disk too: below, its name takes as long as computing it
_heads: WeakKeyDictionary[BaseEmbedder, dict[tuple[tuple[str, ...], tuple[str, ...]], Vectors]] = WeakKeyDictionary()


def zero_shot(embedder: BaseEmbedder, labels: Sequence[str], templates: Sequence[str] = PLAIN) -> Classifier:
    """A classifier whose scores are the softmax, over these labels, of scale * cosine; or, of a sigmoid model, the
    sigmoid of scale * cosine + bias, of each label by itself."""
    labels = check_labels(labels)
    return Classifier(embedder, labels, zero_shot_head(embedder, labels, templates), embedder.scale, embedder.bias)


def zero_shot_head(embedder: BaseEmbedder, labels: Sequence[str], templates: Sequence[str] = PLAIN) -> Vectors:
    """Unit vectors [C, D], one a label. Remembered for as long as the embedder lives, and on disk where it is made of
    many prompts (see kept_heads)."""
    labels, templates = check_labels(labels), check_templates(templates)
    remembered = _heads.setdefault(embedder, {})
    key = (labels, templates)
    if key not in remembered:
        if len(remembered) >= _KEPT:
            del remembered[next(iter(remembered))]
        remembered[key] = _from_disk_or_new(embedder, labels, templates)
    return remembered[key]


def _from_disk_or_new(embedder: BaseEmbedder, labels: tuple[str, ...], templates: tuple[str, ...]) -> Vectors:
    path = head_file(embedder, labels, templates) if len(labels) * len(templates) >= _WORTH else None
    head_CD = read_head(path, (len(labels), embedder.dim)) if path else None
    if head_CD is None:
        head_CD = make_head(embedder, labels, templates)
        if path:
            keep_head(path, head_CD)
    head_CD.setflags(write=False)  # it is shared
    return head_CD


def make_head(embedder: BaseEmbedder, labels: tuple[str, ...], templates: tuple[str, ...]) -> Vectors:
    """The head [C, D] itself, from checked labels and templates; nothing is looked up or kept."""
    total_CD = np.zeros((len(labels), embedder.dim), dtype=np.float32)
    together = max(1, _PROMPTS // len(labels))
    for start in range(0, len(templates), together):
        some = templates[start : start + together]
        prompts = [fill(template, label) for template in some for label in labels]
        total_CD += embedder.embed_texts(prompts).reshape(len(some), *total_CD.shape).sum(axis=0)
    norm_C1 = np.linalg.norm(total_CD, axis=1, keepdims=True)
    if not (norm_C1 > 0).all():
        raise RequestError("the prompts of a label cancel each other: use fewer templates")
    return (total_CD / norm_C1).astype(np.float32)

"""Zero-shot classification by prompts that were chosen on labelled pictures, which are never those of the test.

What is chosen among is stated beforehand: the record holds it. How much worse than on the pictures that chose it the
choice may be on new ones, is bounded (`bounds`).

Shapes: N pictures that choose, T templates, C classes, D joint space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sightword.data.labelled import Labelled
from sightword.embedding.base import BaseEmbedder, Vectors
from sightword.evaluation.bounds import ErrorBound, error_bound, subset_nats
from sightword.evaluation.classification import Outcome, classify
from sightword.evaluation.metrics import find_metric, single_ranks
from sightword.labels.prompt_choice import PromptChoice, choose_templates
from sightword.labels.prompts import fill

CHOSEN = "chosen"


def classify_by_chosen(
    embedder: BaseEmbedder,
    test: tuple[Labelled, Vectors],
    choosing: tuple[Labelled, Vectors],
    candidates: Sequence[str],
    metrics: Sequence[str],
    seed: int = 0,
) -> Outcome:
    """test, choosing: pictures with their vectors. metrics: the first one chooses. The rows are of the prompt `chosen`;
    `details` say under `choice` what it is and on what it was chosen, and under `bound` how wrong it may be (None for
    pictures with several labels, whose metrics count no errors). Raises RequestError where `choosing` is of a split for
    testing, has other classes, or no text of a candidate fits the model."""
    data, vectors_ND = choosing
    data.check_names(embedder.contract.text.clean)
    metric = find_metric(metrics[0])
    texts = [fill(template, name) for template in candidates for name in data.classes]
    chosen = choose_templates(
        candidates,
        embedder.embed_texts(texts).reshape(len(candidates), len(data.classes), -1),
        vectors_ND,
        data.labels,
        data=data.name,
        split=data.split,
        score=lambda scores, labels: metric(scores, labels, data.ignored),
    )
    bound = None if data.multi_label else _bound(chosen, choosing)
    found = classify(embedder, *test, {CHOSEN: chosen.templates}, metrics, seed)
    choice = {**chosen.to_json(), "metric": metrics[0], "remark": data.made}
    return replace(found, details={**found.details, "choice": choice, "bound": bound and bound.to_json()})


def _bound(chosen: PromptChoice, choosing: tuple[Labelled, Vectors]) -> ErrorBound:
    """The prior was there before the pictures: every number of templates, and then every set of so many, alike."""
    data, vectors_ND = choosing
    rank_N = single_ranks(vectors_ND @ chosen.weights.T, data.labels)
    nats = subset_nats(chosen.candidates, len(chosen.templates))
    return error_bound(int(np.sum(rank_N >= 1)), len(data), nats)

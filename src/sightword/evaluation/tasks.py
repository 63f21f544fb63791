"""What can be done with a data set, one name each: what it needs, what is chosen beforehand, and doing it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from sightword.data.labelled import Captioned, Labelled
from sightword.embedding.base import BaseEmbedder, Vectors
from sightword.evaluation.classification import Outcome, classify
from sightword.evaluation.retrieval import retrieval
from sightword.evaluation.spec import Spec

Task: TypeAlias = Literal["zero-shot", "retrieval"]
BARE = ("{}",)
_TOP5 = 5


@dataclass(frozen=True)
class Work:
    """data: the pictures of the test that could be read, with their vectors. settings: of `Kind.settings`. told: gives
    the progress of a part of the work, by its name."""

    embedder: BaseEmbedder
    spec: Spec
    root: str | Path | None
    data: Labelled | Captioned
    vectors: Vectors
    settings: Mapping[str, Any]
    told: Callable[[str], Callable[[int, int], None]]


@dataclass(frozen=True)
class Kind:
    """fits: whether a data set is for this task. settings: what a record of it depends on beside model and data."""

    fits: Callable[[Spec], bool]
    settings: Callable[[Spec, Labelled | Captioned, int], dict[str, Any]]
    run: Callable[[Work], Outcome]


def usual_task(spec: Spec) -> Task:
    return "retrieval" if spec.task == "retrieval" else "zero-shot"


def prompts(spec: Spec, data: Labelled | Captioned) -> dict[str, tuple[str, ...]]:
    """`bare`, the name alone; `plain`, one sentence that is the same for every data set; `ensemble`, the data set's
    own, which people wrote who knew the task (or that came with the data)."""
    found = {"bare": BARE, "plain": spec.plain}
    ensemble = spec.ensemble or (data.templates if isinstance(data, Labelled) else ())
    return found | ({"ensemble": tuple(ensemble)} if ensemble else {})


def _zero_shot_settings(spec: Spec, data: Labelled | Captioned, seed: int) -> dict[str, Any]:
    assert isinstance(data, Labelled)
    metrics = [spec.metric]
    if not data.multi_label:
        metrics += ["top1"] if spec.metric != "top1" else []
        metrics += ["top5"] if len(data.classes) > _TOP5 and spec.metric != "top5" else []
    said = {name: list(sentences) for name, sentences in prompts(spec, data).items()}
    return {"prompts": said, "engineered": ["ensemble"] if "ensemble" in said else [], "metrics": metrics, "seed": seed}


def _zero_shot(work: Work) -> Outcome:
    assert isinstance(work.data, Labelled)
    chosen = work.settings
    return classify(work.embedder, work.data, work.vectors, chosen["prompts"], chosen["metrics"], chosen["seed"])


def _retrieval(work: Work) -> Outcome:
    assert isinstance(work.data, Captioned)
    texts_MD = work.embedder.embed_texts(work.data.texts, truncate=True)
    lengths = np.array([len(text.split()) for text in work.data.texts])
    found = retrieval(texts_MD, work.vectors, work.data.image_of_text, lengths=lengths)
    rows = tuple(found.rows(work.data.name, work.data.split, "plain"))
    return Outcome(rows, {"retrieval": found.to_json()})


TASKS: Mapping[Task, Kind] = {
    "zero-shot": Kind(lambda spec: spec.task == "classification", _zero_shot_settings, _zero_shot),
    "retrieval": Kind(lambda spec: spec.task == "retrieval", lambda spec, data, seed: {"seed": seed}, _retrieval),
}

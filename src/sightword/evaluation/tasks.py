"""What can be done with a data set, one name each: what it needs, what is chosen beforehand, and doing it.

Shapes: N pictures, C classes, D joint space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from sightword.data.labelled import Labelled
from sightword.data.readers import Data
from sightword.data.videos import Videos
from sightword.embedding.base import Vectors
from sightword.errors import RequestError
from sightword.evaluation.choice_task import choice, choice_settings
from sightword.evaluation.class_shift import ClassShift, class_shift
from sightword.evaluation.classification import OF_RANKS, Outcome, classify, metric_rows
from sightword.evaluation.composed_task import composed, composed_settings
from sightword.evaluation.few_shot import SEEDS, SHOTS, few_shot
from sightword.evaluation.kinds import Kind, Work, prompts
from sightword.evaluation.layers_task import layers, layers_settings
from sightword.evaluation.metrics import single_ranks
from sightword.evaluation.parents import of_parents, parents_of
from sightword.evaluation.prompt_choice import CHOSEN, classify_by_chosen
from sightword.evaluation.retrieval_task import retrieve
from sightword.evaluation.robustness import relative_robustness
from sightword.evaluation.robustness_task import robustness, robustness_settings, shifted
from sightword.evaluation.rows import Row
from sightword.evaluation.segmentation_task import mask_settings, segmentation, segmenter_way
from sightword.evaluation.spec import VIDEO_METRIC, Spec
from sightword.evaluation.suites import open_choosing, open_development
from sightword.evaluation.videos import METRICS as VIDEO_METRICS
from sightword.evaluation.videos import classify_videos, gain_of_names
from sightword.labels.prompts import GENERAL
from sightword.labels.zero_shot import zero_shot_head

Task: TypeAlias = Literal[
    "zero-shot", "prompt-choice", "retrieval", "choice", "composed", "linear", "few-shot", "robustness", "segmentation",
    "layers",
]  # fmt: skip
_TOP5 = 5


def usual_task(spec: Spec) -> Task:
    return "zero-shot" if spec.task == "classification" else spec.task


def _metrics(spec: Spec, data: Labelled) -> list[str]:
    """The data set's own first. Of videos' anchors alone it is top-1."""
    if isinstance(data, Videos):
        return [*VIDEO_METRICS]
    metrics: list[str] = ["top1" if spec.metric == VIDEO_METRIC else spec.metric]
    if not data.multi_label:
        metrics += ["top1", *(["top5"] if len(data.classes) > _TOP5 else [])]
    return list(dict.fromkeys(metrics))


def _zero_shot_settings(spec: Spec, root: str | Path | None, data: Data, seed: int) -> dict[str, Any]:
    assert isinstance(data, Labelled)
    said = {name: list(sentences) for name, sentences in prompts(spec, data).items()}
    engineered = ["ensemble"] if "ensemble" in said else []
    return {"prompts": said, "engineered": engineered, "metrics": _metrics(spec, data), "seed": seed}


def _pooled_settings(spec: Spec, root: str | Path | None, data: Data, seed: int) -> dict[str, Any]:
    """And by the names of ImageNet's classes, where the data set's are known to be of those: each prompt again."""
    own = _zero_shot_settings(spec, root, data, seed)
    if not spec.parents:
        return own
    assert isinstance(data, Labelled)
    parents = parents_of(spec, root, data)
    if isinstance(parents, str):
        return own | {"parents": parents}
    again = {of_parents(name): sentences for name, sentences in own["prompts"].items()}
    engineered = [*own["engineered"], *map(of_parents, own["engineered"])]
    return own | {"prompts": own["prompts"] | again, "engineered": engineered, "parents": parents.to_json()}


def _zero_shot(work: Work) -> Outcome:
    chosen, parents = work.settings, work.settings.get("parents", "")
    own: list[str] = []
    shifts: dict[str, ClassShift] = {}
    if not isinstance(parents, str):  # which says why there are none
        own = [*prompts(work.spec, work.data)]
        sources = tuple(dict.fromkeys(name for names in parents.values() for name in names))
        shift = class_shift(sources, parents, [name for name, names in parents.items() if not names])
        shifts = {of_parents(prompt): shift for prompt in own}
    if isinstance(work.data, Videos):
        return _of_videos(work, work.data, own, shifts)
    found = classify(
        work.embedder, work.labelled, work.vectors, chosen["prompts"], chosen["metrics"], chosen["seed"], shifts
    )
    if not shifts:
        return found
    hits = {prompt: found.outcomes[f"rank {prompt}"] < 1 for prompt in chosen["prompts"]}
    gains = {prompt: asdict(relative_robustness(hits[of_parents(prompt)], hits[prompt])) for prompt in own}
    return replace(found, details={**found.details, "class_shift": gains})


def _of_videos(work: Work, data: Videos, own: Sequence[str], shifts: Mapping[str, ClassShift]) -> Outcome:
    chosen = work.settings
    found = classify_videos(work.embedder, data, work.vectors, chosen["prompts"], chosen["seed"], shifts)
    hits = {prompt: found.outcomes[f"anchors {prompt}"] for prompt in chosen["prompts"]}
    gains = {
        prompt: asdict(gain_of_names(hits[prompt], hits[of_parents(prompt)], data.videos, chosen["seed"]))
        for prompt in own
    }
    return replace(found, details={**found.details, **({"class_shift": gains} if gains else {})})


def _prompt_choice_settings(spec: Spec, root: str | Path | None, data: Data, seed: int) -> dict[str, Any]:
    stated = spec.candidates or (*(one for said in prompts(spec, data).values() for one in said), *GENERAL)
    return {
        **_zero_shot_settings(spec, root, data, seed),
        "prompts": {CHOSEN: []},
        "engineered": [],
        "candidates": [*dict.fromkeys(stated)],
        "chosen_on": open_choosing(spec, root).fingerprint(),
    }


def _choosing(work: Work) -> list[tuple[Labelled, Vectors]]:
    return [work.embed(open_choosing(work.spec, work.root))]


def _prompt_choice(work: Work) -> Outcome:
    chosen, test, (choosing,) = work.settings, (work.labelled, work.vectors), work.further
    return classify_by_chosen(work.embedder, test, choosing, chosen["candidates"], chosen["metrics"], chosen["seed"])


def _trained_on(spec: Spec, root: str | Path | None) -> dict[str, Any]:
    """Other training pictures are another probe."""
    return {"trained_on": [part.fingerprint() for part in open_development(spec, root)]}


def _probe_settings(spec: Spec, root: str | Path | None, data: Data, seed: int) -> dict[str, Any]:
    assert isinstance(data, Labelled)
    return {"metrics": _metrics(spec, data), "prompts": {"linear": []}, "seed": seed, **_trained_on(spec, root)}


def _development(work: Work) -> list[tuple[Labelled, Vectors]]:
    """What a probe learns from, and what it chooses on."""
    return [work.embed(part) for part in open_development(work.spec, work.root)]


def _linear(work: Work) -> Outcome:
    from sightword.labels.probe import LinearProbe

    data, (fit, choose) = work.labelled, work.further
    metric: Any = "mean_per_class" if work.spec.metric == "mean_per_class" else "accuracy"
    ignored = fit[0].ignored
    probe = LinearProbe(metric=metric, refit=ignored is None, seed=work.settings["seed"])
    probe.fit(fit[1], fit[0].labels, choose[1], choose[0].labels, ignored=ignored)
    scores_NC = np.zeros((len(data), len(data.classes)), np.float32)
    columns = slice(None) if data.multi_label else probe.classes_
    scores_NC[:, columns] = probe.predict_proba(work.vectors)
    rows = metric_rows(data, "linear", work.settings["metrics"], scores_NC, work.settings["seed"])
    details = {
        "path": [point.to_json() for point in probe.path_],
        "chosen": probe.strength_,
        "chosen_on": probe.chosen_on_,
        "trained_on": len(fit[0]),
        "remarks": [*filter(None, (fit[0].made, choose[0].made))],
    }
    outcomes: dict[str, Any] = {"labels": data.labels}
    if not set(work.settings["metrics"]) <= OF_RANKS:
        outcomes["scores linear"] = scores_NC
    if not data.multi_label:
        outcomes["rank linear"] = single_ranks(scores_NC, data.labels).astype(np.int32)
    return Outcome(tuple(rows), details, outcomes)


def _few_shot_settings(spec: Spec, root: str | Path | None, data: Data, seed: int) -> dict[str, Any]:
    assert isinstance(data, Labelled)
    if data.multi_label:
        raise RequestError(f"{data}: few-shot needs one label a picture, and its pictures have several")
    said = list(prompts(spec, data)["plain"])
    seeds = [seed + one for one in SEEDS]
    return {"metrics": ["top1"], "shots": list(SHOTS), "seeds": seeds, "zero_shot": said, **_trained_on(spec, root)}


def _few_shot(work: Work) -> Outcome:
    data, chosen, (fit, choose) = work.labelled, work.settings, work.further
    head_CD = zero_shot_head(work.embedder, data.classes, chosen["zero_shot"])
    zero_shot = float((single_ranks(work.vectors @ head_CD.T, data.labels) < 1).mean())
    curve = few_shot(
        (fit[1], fit[0].labels), (work.vectors, data.labels), zero_shot, (choose[1], choose[0].labels),
        chosen["shots"], chosen["seeds"],
    )  # fmt: skip
    rows = tuple(
        Row(
            data.name, data.split, f"{point.shots}-shot", "top1", point.value,
            point.value if point.low is None else max(0.0, point.low),
            point.value if point.high is None else min(1.0, point.high),
            len(data), len(data.classes), "Student's t over draws",
        )
        for point in curve.points
    )  # fmt: skip
    return Outcome(rows, {"few_shot": curve.to_json()})


def _of_classes(spec: Spec) -> bool:
    return spec.task == "classification"


TASKS: Mapping[Task, Kind] = {
    "zero-shot": Kind(_of_classes, _pooled_settings, _zero_shot),
    "prompt-choice": Kind(_of_classes, _prompt_choice_settings, _prompt_choice, _choosing),
    "retrieval": Kind(lambda spec: spec.task == "retrieval", lambda spec, root, data, seed: {"seed": seed}, retrieve),
    "choice": Kind(lambda spec: spec.task == "choice", choice_settings, choice),
    "composed": Kind(lambda spec: spec.task == "composed", composed_settings, composed),
    "linear": Kind(_of_classes, _probe_settings, _linear, _development),
    "few-shot": Kind(_of_classes, _few_shot_settings, _few_shot, _development),
    "robustness": Kind(_of_classes, robustness_settings, robustness, shifted),
    "segmentation": Kind(lambda spec: spec.task == "segmentation", mask_settings, segmentation, way=segmenter_way),
    "layers": Kind(lambda spec: spec.task == "layers", layers_settings, layers),
}

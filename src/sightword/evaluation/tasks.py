"""What can be done with a data set, one name each: what it needs, what is chosen beforehand, and doing it.

Shapes: N pictures, C classes, D joint space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sightword.data.corruptions import CORRUPTIONS
from sightword.data.corruptions import STRENGTHS as CORRUPTION_STRENGTHS
from sightword.data.labelled import Captioned, Labelled
from sightword.data.pairs import fraction_of
from sightword.embedding.base import BaseEmbedder, Vectors
from sightword.errors import RequestError
from sightword.evaluation.classification import OF_RANKS, Outcome, classify, logits, metric_rows
from sightword.evaluation.features import Features, split_features
from sightword.evaluation.few_shot import SEEDS, SHOTS, few_shot
from sightword.evaluation.metrics import ranks, single_ranks
from sightword.evaluation.prompt_choice import CHOSEN, classify_by_chosen
from sightword.evaluation.reference_probes import SHOTS as REFERENCE_SHOTS
from sightword.evaluation.reference_probes import STRENGTHS, ReferenceProbe, of_each_class, reference_probes
from sightword.evaluation.retrieval import retrieval
from sightword.evaluation.retrieval_examples import retrieval_examples
from sightword.evaluation.rows import Row, share_row
from sightword.evaluation.shifts import corruptions, style_shifts
from sightword.evaluation.spec import Spec
from sightword.evaluation.suites import open_choosing, open_development
from sightword.labels.prompts import GENERAL, PLAIN
from sightword.labels.zero_shot import zero_shot_head

Task: TypeAlias = Literal["zero-shot", "prompt-choice", "retrieval", "linear", "few-shot", "robustness"]
_TOP5 = 5
CORRUPTED = 200  # pictures of a test that are corrupted: each is embedded sixty times
HELD = 2000  # pictures at most that stand for the styles of training where they are held against others


@dataclass(frozen=True)
class Work:
    """data: the pictures of the test that could be read, with their vectors. settings: of `Kind.settings`. told: gives
    the progress of a part of the work, of so many pictures."""

    embedder: BaseEmbedder
    spec: Spec
    root: str | Path | None
    data: Labelled | Captioned
    vectors: Vectors
    settings: Mapping[str, Any]
    told: Callable[[int], Callable[[int], None]]

    @property
    def labelled(self) -> Labelled:
        assert isinstance(self.data, Labelled)
        return self.data


@dataclass(frozen=True)
class Kind:
    """fits: whether a data set is for this task. settings: what a record of it depends on beside the model and the
    pictures of the test. It and `run` raise RequestError where the data set lacks what the task needs."""

    fits: Callable[[Spec], bool]
    settings: Callable[[Spec, str | Path | None, Labelled | Captioned, int], dict[str, Any]]
    run: Callable[[Work], Outcome]


def usual_task(spec: Spec) -> Task:
    return "retrieval" if spec.task == "retrieval" else "zero-shot"


def prompts(spec: Spec, data: Labelled | Captioned) -> dict[str, tuple[str, ...]]:
    """`bare`, the name alone; `plain`, one sentence that is the same for every data set; `ensemble`, the data set's
    own, which people wrote who knew the task (or that came with the data)."""
    found = {"bare": PLAIN, "plain": spec.plain}
    ensemble = spec.ensemble or (data.templates if isinstance(data, Labelled) else ())
    return found | ({"ensemble": tuple(ensemble)} if ensemble else {})


def embed(embedder: BaseEmbedder, data: Labelled, progress: Callable[[int], None]) -> tuple[Labelled, Vectors]:
    """The pictures that could be read, and their vectors."""
    found: Features = split_features(embedder, data, progress)
    return (data if len(found.rows) == len(data) else data.take(found.rows)), found.vectors


def _metrics(spec: Spec, data: Labelled) -> list[str]:
    """The data set's own first."""
    metrics: list[str] = [spec.metric]
    if not data.multi_label:
        metrics += ["top1", *(["top5"] if len(data.classes) > _TOP5 else [])]
    return list(dict.fromkeys(metrics))


def _zero_shot_settings(spec: Spec, root: str | Path | None, data: Labelled | Captioned, seed: int) -> dict[str, Any]:
    assert isinstance(data, Labelled)
    said = {name: list(sentences) for name, sentences in prompts(spec, data).items()}
    engineered = ["ensemble"] if "ensemble" in said else []
    return {"prompts": said, "engineered": engineered, "metrics": _metrics(spec, data), "seed": seed}


def _zero_shot(work: Work) -> Outcome:
    chosen = work.settings
    return classify(work.embedder, work.labelled, work.vectors, chosen["prompts"], chosen["metrics"], chosen["seed"])


def _prompt_choice_settings(
    spec: Spec, root: str | Path | None, data: Labelled | Captioned, seed: int
) -> dict[str, Any]:
    stated = spec.candidates or (*(one for said in prompts(spec, data).values() for one in said), *GENERAL)
    return {
        **_zero_shot_settings(spec, root, data, seed),
        "prompts": {CHOSEN: []},
        "engineered": [],
        "candidates": [*dict.fromkeys(stated)],
        "chosen_on": open_choosing(spec, root).fingerprint(whole=True),
    }


def _prompt_choice(work: Work) -> Outcome:
    chosen, part = work.settings, open_choosing(work.spec, work.root)
    choosing = embed(work.embedder, part, work.told(len(part)))
    test = work.labelled, work.vectors
    return classify_by_chosen(work.embedder, test, choosing, chosen["candidates"], chosen["metrics"], chosen["seed"])


def _retrieval(work: Work) -> Outcome:
    assert isinstance(work.data, Captioned)
    # Equal captions have one vector: two of them would differ in their last bits, and a tie would be won by chance.
    texts = sorted({*work.data.texts})
    vectors = work.embedder.embed_texts(texts, truncate=True)
    place = {text: number for number, text in enumerate(texts)}
    texts_MD = vectors[[place[text] for text in work.data.texts]]
    lengths = np.array([len(text.split()) for text in work.data.texts])
    found = retrieval(texts_MD, work.vectors, work.data.image_of_text, lengths=lengths)
    examples = retrieval_examples(work.data, texts_MD, work.vectors, found.ranks)
    return Outcome(
        tuple(found.rows(work.data.name, work.data.split, "bare")),
        {"retrieval": found.to_json(), "examples": examples.to_json()},
    )


def _trained_on(spec: Spec, root: str | Path | None) -> dict[str, Any]:
    """Other training pictures are another probe."""
    return {"trained_on": [part.fingerprint(whole=True) for part in open_development(spec, root)]}


def _probe_settings(spec: Spec, root: str | Path | None, data: Labelled | Captioned, seed: int) -> dict[str, Any]:
    assert isinstance(data, Labelled)
    return {"metrics": _metrics(spec, data), "prompts": {"linear": []}, "seed": seed, **_trained_on(spec, root)}


def _linear(work: Work) -> Outcome:
    from sightword.labels.probe import LinearProbe

    data = work.labelled
    fit, choose = (embed(work.embedder, part, work.told(len(part))) for part in open_development(work.spec, work.root))
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


def _few_shot_settings(spec: Spec, root: str | Path | None, data: Labelled | Captioned, seed: int) -> dict[str, Any]:
    assert isinstance(data, Labelled)
    if data.multi_label:
        raise RequestError(f"{data}: few-shot needs one label a picture, and its pictures have several")
    said = list(prompts(spec, data)["plain"])
    seeds = [seed + one for one in SEEDS]
    return {"metrics": ["top1"], "shots": list(SHOTS), "seeds": seeds, "zero_shot": said, **_trained_on(spec, root)}


def _few_shot(work: Work) -> Outcome:
    data, chosen = work.labelled, work.settings
    fit, choose = (embed(work.embedder, part, work.told(len(part))) for part in open_development(work.spec, work.root))
    head_CD = zero_shot_head(work.embedder, data.classes, chosen["zero_shot"])
    zero_shot = float((ranks(work.vectors @ head_CD.T, data.labels.astype(np.int64)) < 1).mean())
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


def _reference(spec: Spec, root: str | Path | None, labels_N: NDArray[Any]) -> tuple[Labelled, Labelled] | str:
    """What reference probes learn from, and pictures like those that they did not see; or why there is no such."""
    try:
        fit, held = open_development(spec, root)
    except RequestError:  # whose words name folders, and a record is the same wherever its data lie
        return "the data set has no training pictures, or too few to hold some out"
    lacking = len(np.setdiff1d(labels_N, fit.labels))
    if lacking:
        return f"the training pictures lack {lacking} of the classes of the test"
    rows = of_each_class(fit.labels, fit.keys, REFERENCE_SHOTS[-1])
    few = fit.take(rows, made=f"{REFERENCE_SHOTS[-1]} pictures of each class at most, by a hash of each key")
    return (fit if len(rows) == len(fit) else few), _part(held, HELD)


def _robustness_settings(spec: Spec, root: str | Path | None, data: Labelled | Captioned, seed: int) -> dict[str, Any]:
    assert isinstance(data, Labelled)
    if data.multi_label:
        raise RequestError(f"{data}: robustness needs one label a picture, and its pictures have several")
    said = list(prompts(spec, data)["plain"])
    chosen = {"metrics": ["top1"], "prompt": said, "pictures": CORRUPTED, "seed": seed}
    found = _reference(spec, root, data.labels)
    if isinstance(found, str):
        return chosen | {"reference": found}
    probes = {"shots": list(REFERENCE_SHOTS), "strengths": list(STRENGTHS)}
    return chosen | {
        "reference": list(spec.reference),
        **probes,
        "trained_on": [one.fingerprint(True) for one in found],
    }


def _robustness(work: Work) -> Outcome:
    """By where the pictures come from, of all the test; under natural shifts of style, where the data set has such; and
    under generated corruptions, of a part of the test. Against a line of probes where there are training pictures."""
    data, chosen = work.labelled, work.settings
    head_CD = zero_shot_head(work.embedder, data.classes, chosen["prompt"])

    def head(vectors: Vectors, labels: NDArray[Any]) -> NDArray[np.bool_]:
        return single_ranks(logits(work.embedder, vectors, head_CD), labels) < 1

    rows: list[Row] = []
    hits_N = head(work.vectors, data.labels)
    for group in dict.fromkeys(data.groups):
        mine = np.array([one == group for one in data.groups])
        rows.append(
            share_row(data.name, group, "plain", "top1", int(hits_N[mine].sum()), int(mine.sum()), len(data.classes))
        )
    pool = [(data, work.vectors)]
    probes: tuple[ReferenceProbe, ...] = ()
    why = ""
    found = _reference(work.spec, work.root, data.labels)
    if isinstance(found, str):
        why = found
    else:
        fit, vectors = embed(work.embedder, found[0], work.told(len(found[0])))
        probes = reference_probes(vectors, fit.labels, fit.keys)
        if work.spec.reference:
            pool.append(embed(work.embedder, found[1], work.told(len(found[1]))))
    details: dict[str, Any] = {}
    if work.spec.reference:
        of_styles, shifts = style_shifts(data.name, pool, work.spec.reference, head, probes, why)
        rows += of_styles
        details["style_shifts"] = [one.to_json() for one in shifts]
    part = _part(data, chosen["pictures"])
    told = work.told(len(part) * (1 + len(CORRUPTIONS) * len(CORRUPTION_STRENGTHS)))
    worse = corruptions(work.embedder, part, head, probes, chosen["seed"], told, why)
    return Outcome((*rows, *worse.rows), {**details, **worse.details})


def _part(data: Labelled, count: int) -> Labelled:
    """By a hash of each key, so that nobody chose."""
    if len(data) <= count:
        return data
    order: Sequence[int] = sorted(range(len(data)), key=lambda i: fraction_of(f"corrupted {data.keys[i]}"))
    return data.take(np.sort(np.array(order[:count])), made=f"{count:,} of the pictures, by a hash of each key")


def _of_classes(spec: Spec) -> bool:
    return spec.task == "classification"


TASKS: Mapping[Task, Kind] = {
    "zero-shot": Kind(_of_classes, _zero_shot_settings, _zero_shot),
    "prompt-choice": Kind(_of_classes, _prompt_choice_settings, _prompt_choice),
    "retrieval": Kind(lambda spec: not _of_classes(spec), lambda spec, root, data, seed: {"seed": seed}, _retrieval),
    "linear": Kind(_of_classes, _probe_settings, _linear),
    "few-shot": Kind(_of_classes, _few_shot_settings, _few_shot),
    "robustness": Kind(_of_classes, _robustness_settings, _robustness),
}

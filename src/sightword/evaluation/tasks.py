"""What can be done with a data set, one name each: what it needs, what is chosen beforehand, and doing it.

Shapes: N pictures, C classes, D joint space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from sightword.data.corruptions import CORRUPTIONS, STRENGTHS, Corrupted
from sightword.data.labelled import Captioned, Labelled
from sightword.data.pairs import fraction_of
from sightword.embedding.base import BaseEmbedder, Vectors
from sightword.errors import RequestError
from sightword.evaluation.classification import OF_RANKS, Outcome, classify, logits, metric_rows
from sightword.evaluation.features import Features, split_features
from sightword.evaluation.few_shot import SEEDS, SHOTS, few_shot
from sightword.evaluation.metrics import ranks, single_ranks
from sightword.evaluation.retrieval import retrieval
from sightword.evaluation.robustness import corruption_result
from sightword.evaluation.rows import Row, share_row
from sightword.evaluation.shares import embed_shares
from sightword.evaluation.spec import Spec
from sightword.evaluation.suites import open_development
from sightword.labels.prompts import PLAIN
from sightword.labels.zero_shot import zero_shot_head
from sightword.training.ranks import ALONE, World

Task: TypeAlias = Literal["zero-shot", "retrieval", "linear", "few-shot", "robustness"]
_TOP5 = 5
CORRUPTED = 200  # pictures of a test that are corrupted: each is embedded sixty times


@dataclass(frozen=True)
class Work:
    """data: the pictures of the test that could be read, with their vectors. settings: of `Kind.settings`. told: gives
    the progress of a part of the work, of so many pictures. world: who embeds. further: of `Kind.further`.

    Vectors, these and the further ones, are on the first rank alone."""

    embedder: BaseEmbedder
    spec: Spec
    root: str | Path | None
    data: Labelled | Captioned
    vectors: Vectors
    settings: Mapping[str, Any]
    told: Callable[[int], Callable[[int], None]]
    world: World = ALONE
    further: Sequence[tuple[Labelled, Vectors]] = ()

    @property
    def labelled(self) -> Labelled:
        assert isinstance(self.data, Labelled)
        return self.data


@dataclass(frozen=True)
class Kind:
    """fits: whether a data set is for this task. settings: what a record of it depends on beside the model and the
    pictures of the test. further: the pictures beside these, which all ranks embed together. run: the rest, on the
    first rank alone. They raise RequestError where the data set lacks what the task needs."""

    fits: Callable[[Spec], bool]
    settings: Callable[[Spec, str | Path | None, Labelled | Captioned, int], dict[str, Any]]
    run: Callable[[Work], Outcome]
    further: Callable[[Work], list[tuple[Labelled, Vectors]]] = lambda work: []


def usual_task(spec: Spec) -> Task:
    return "retrieval" if spec.task == "retrieval" else "zero-shot"


def prompts(spec: Spec, data: Labelled | Captioned) -> dict[str, tuple[str, ...]]:
    """`bare`, the name alone; `plain`, one sentence that is the same for every data set; `ensemble`, the data set's
    own, which people wrote who knew the task (or that came with the data)."""
    found = {"bare": PLAIN, "plain": spec.plain}
    ensemble = spec.ensemble or (data.templates if isinstance(data, Labelled) else ())
    return found | ({"ensemble": tuple(ensemble)} if ensemble else {})


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


def _retrieval(work: Work) -> Outcome:
    assert isinstance(work.data, Captioned)
    # Equal captions have one vector: two of them would differ in their last bits, and a tie would be won by chance.
    texts = sorted({*work.data.texts})
    vectors = work.embedder.embed_texts(texts, truncate=True)
    place = {text: number for number, text in enumerate(texts)}
    texts_MD = vectors[[place[text] for text in work.data.texts]]
    lengths = np.array([len(text.split()) for text in work.data.texts])
    found = retrieval(texts_MD, work.vectors, work.data.image_of_text, lengths=lengths)
    return Outcome(tuple(found.rows(work.data.name, work.data.split, "bare")), {"retrieval": found.to_json()})


def _trained_on(spec: Spec, root: str | Path | None) -> dict[str, Any]:
    """Other training pictures are another probe."""
    return {"trained_on": [part.fingerprint(whole=True) for part in open_development(spec, root)]}


def _probe_settings(spec: Spec, root: str | Path | None, data: Labelled | Captioned, seed: int) -> dict[str, Any]:
    assert isinstance(data, Labelled)
    return {"metrics": _metrics(spec, data), "prompts": {"linear": []}, "seed": seed, **_trained_on(spec, root)}


def _development(work: Work) -> list[tuple[Labelled, Vectors]]:
    """What a probe learns from, and what it chooses on: the pictures that could be read."""
    parts: list[tuple[Labelled, Vectors]] = []
    for part in open_development(work.spec, work.root):
        found: Features = split_features(work.embedder, part, work.told(len(part)), work.world)
        parts.append((part if len(found.rows) == len(part) else part.take(found.rows), found.vectors))
    return parts


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


def _few_shot_settings(spec: Spec, root: str | Path | None, data: Labelled | Captioned, seed: int) -> dict[str, Any]:
    assert isinstance(data, Labelled)
    if data.multi_label:
        raise RequestError(f"{data}: few-shot needs one label a picture, and its pictures have several")
    said = list(prompts(spec, data)["plain"])
    seeds = [seed + one for one in SEEDS]
    return {"metrics": ["top1"], "shots": list(SHOTS), "seeds": seeds, "zero_shot": said, **_trained_on(spec, root)}


def _few_shot(work: Work) -> Outcome:
    data, chosen, (fit, choose) = work.labelled, work.settings, work.further
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


def _robustness_settings(spec: Spec, root: str | Path | None, data: Labelled | Captioned, seed: int) -> dict[str, Any]:
    assert isinstance(data, Labelled)
    if data.multi_label:
        raise RequestError(f"{data}: robustness needs one label a picture, and its pictures have several")
    said = list(prompts(spec, data)["plain"])
    return {"metrics": ["top1"], "prompt": said, "pictures": CORRUPTED, "seed": seed}


_CELLS: list[tuple[str, int]] = [(kind, strength) for kind in CORRUPTIONS for strength in STRENGTHS]


def _corrupted(work: Work) -> list[tuple[Labelled, Vectors]]:
    """A part of the test as it is, and then corrupted in every way of `_CELLS`."""
    part = _part(work.labelled, work.settings["pictures"])
    # The first is as the others, but for the corruption: large pictures are made smaller first.
    cells = [(_CELLS[0][0], 0), *_CELLS]
    told = work.told(len(part) * len(cells))
    found: list[tuple[Labelled, Vectors]] = []

    def so_far(done: int) -> None:
        told(len(found) * len(part) + done)

    for kind, strength in cells:
        images = Corrupted(part.images, part.keys, kind, strength, work.settings["seed"])
        vectors, errors = embed_shares(work.embedder, images, work.world, so_far)
        for error in errors.values():
            raise error
        found.append((part, vectors))
    return found


def _robustness(work: Work) -> Outcome:
    """Accuracy under generated corruptions, of a part of the test; and by where the pictures come from, of all."""
    data, chosen = work.labelled, work.settings
    head_CD = zero_shot_head(work.embedder, data.classes, chosen["prompt"])
    hits_N = _hits(work.embedder, work.vectors, head_CD, data)
    rows: list[Row] = []
    if data.groups:
        for group in dict.fromkeys(data.groups):
            mine = np.array([one == group for one in data.groups])
            hits, n = int(hits_N[mine].sum()), int(mine.sum())
            rows.append(share_row(data.name, group, "plain", "top1", hits, n, len(data.classes)))
    part = work.further[0][0]
    clean_N, *each_N = (_hits(work.embedder, vectors, head_CD, part) for _, vectors in work.further)
    corrupted = dict(zip(_CELLS, each_N, strict=True))
    found = corruption_result(data.name, "plain", clean_N, corrupted, len(data.classes))
    clean, *each = found.rows
    value, low, high = (float(end if end is not None else np.nan) for end in astuple(found.mean))
    mean = replace(clean, split="corrupted", value=value, low=low, high=high, interval="normal")
    return Outcome((*rows, clean, mean, *each), {"corruptions": found.to_json(), "pictures": part.made})


def _hits(embedder: BaseEmbedder, vectors: Vectors, head_CD: Vectors, data: Labelled) -> Any:
    return single_ranks(logits(embedder, vectors, head_CD), data.labels) < 1


def _part(data: Labelled, count: int) -> Labelled:
    """By a hash of each key, so that nobody chose."""
    if len(data) <= count:
        return data
    order: Sequence[int] = sorted(range(len(data)), key=lambda i: fraction_of(f"corrupted {data.keys[i]}"))
    return data.take(np.sort(np.array(order[:count])), made=f"{count} of the pictures, by a hash of each key")


def _of_classes(spec: Spec) -> bool:
    return spec.task == "classification"


TASKS: Mapping[Task, Kind] = {
    "zero-shot": Kind(_of_classes, _zero_shot_settings, _zero_shot),
    "retrieval": Kind(lambda spec: not _of_classes(spec), lambda spec, root, data, seed: {"seed": seed}, _retrieval),
    "linear": Kind(_of_classes, _probe_settings, _linear, _development),
    "few-shot": Kind(_of_classes, _few_shot_settings, _few_shot, _development),
    "robustness": Kind(_of_classes, _robustness_settings, _robustness, _corrupted),
}

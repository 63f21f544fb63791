"""The zero-shot head under shifts: natural ones of style and generated corruptions, against a line of probes.

A shift has two sides: pictures without it and with it. Every reference probe gives a point, the head's distance from
the line through them is its effective robustness, and its gain over the probe that is best without the shift, on the
same shifted pictures, is its relative robustness. `robustness` has the formulas, `reference_probes` the probes.

Shapes: N pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sightword.data.corruptions import CORRUPTIONS, STRENGTHS, Corrupted
from sightword.data.labelled import Labelled
from sightword.embedding.base import BaseEmbedder, Vectors
from sightword.errors import RequestError
from sightword.evaluation.classification import Outcome
from sightword.evaluation.estimates import Estimate
from sightword.evaluation.reference_probes import ReferenceProbe
from sightword.evaluation.robustness import (
    Effective,
    Hits,
    Line,
    Point,
    corruption_result,
    effective_robustness,
    fit_line,
    relative_mean,
    relative_robustness,
    style_sides,
)
from sightword.evaluation.rows import Row, share_row

Judge: TypeAlias = Callable[[Vectors, NDArray[Any]], Hits]
"""Which pictures are named rightly, from their vectors and labels."""

Sides: TypeAlias = tuple[Hits, NDArray[Any]]
"""Hits without the shift; hits with it, or the share of them of each picture where it is shifted in several ways."""

CORRUPTED = "corrupted"
EFFECTIVE, RELATIVE = "effective_robustness", "relative_robustness"


@dataclass(frozen=True)
class Shift:
    """point: of the head. line, effective, relative: None where `why` says so. over: the probe that the gain is over.
    left_out: probes that have no point, because they were right always or never."""

    name: str
    point: Point
    line: Line | None = None
    effective: Effective | None = None
    over: str = ""
    relative: Estimate | None = None
    left_out: tuple[str, ...] = ()
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def rows(self, test: str, classes: int) -> list[Row]:
        found = [
            (EFFECTIVE, self.effective.effective if self.effective else None, "posterior"),
            (RELATIVE, self.relative, "paired"),
        ]
        return [
            Row(test, self.name, "plain", metric, *_finite(estimate), self.point.n_shift, classes, interval)
            for metric, estimate, interval in found
            if estimate is not None
        ]


def shift(name: str, head: Sides, probes: Mapping[str, Sides], why: str = "") -> Shift:
    """probes: by name. why: there are none, where that is so."""
    point = _point("zero-shot", head)
    if not probes:
        return Shift(name, point, why=why)
    points = [_point(probe, sides) for probe, sides in probes.items()]
    usable = [one for one in points if 0 < one.reference < 1 and 0 < one.shift < 1]
    left_out = tuple(one.name for one in points if one not in usable)
    over = max(points, key=lambda one: one.reference).name
    gain = relative_robustness if head[1].dtype == np.bool_ else relative_mean
    found = Shift(name, point, over=over, relative=gain(probes[over][1], head[1]), left_out=left_out)
    try:
        line = fit_line(usable)
        return replace(found, line=line, effective=effective_robustness(point, line))
    except RequestError as refused:
        return replace(found, why=str(refused))


def style_shifts(
    test: str,
    pictures: Sequence[tuple[Labelled, Vectors]],
    reference: Collection[str],
    head: Judge,
    probes: Sequence[ReferenceProbe],
    why: str = "",
) -> tuple[list[Row], list[Shift]]:
    """pictures: parts of one pool. reference: the groups that are at home. Rows: accuracy of the head there, as the
    split `reference`, and what each shift gives."""
    vectors_ND = np.concatenate([vectors for _, vectors in pictures])
    labels_N = np.concatenate([data.labels for data, _ in pictures])
    groups = [group for data, _ in pictures for group in data.groups]
    classes = len(pictures[0][0].classes)
    if probes:  # every judge is asked the same
        known_N = np.isin(labels_N, probes[0].classes)
        vectors_ND, labels_N = vectors_ND[known_N], labels_N[known_N]
        groups = [group for group, known in zip(groups, known_N, strict=True) if known]
    sides = style_sides(test, groups, reference, labels_N)
    hits_N = head(vectors_ND, labels_N)
    of_probes = {probe.name: probe.hits(vectors_ND, labels_N) for probe in probes}
    home_N = np.isin(groups, list(reference))
    rows = [share_row(test, "reference", "plain", "top1", int(hits_N[home_N].sum()), int(home_N.sum()), classes)]
    found: list[Shift] = []
    for group, (without, under) in sides.items():
        pairs = {name: (hits[without], hits[under]) for name, hits in of_probes.items()}
        found.append(shift(group, (hits_N[without], hits_N[under]), pairs, why))
        rows += found[-1].rows(test, classes)
    return rows, found


def corruptions(
    embedder: BaseEmbedder,
    part: Labelled,
    head: Judge,
    probes: Sequence[ReferenceProbe],
    seed: int,
    told: Callable[[int], None],
    why: str = "",
) -> Outcome:
    """Every kind and strength on these pictures. told: of pictures that are done, of all copies."""
    cells: list[tuple[str, int]] = [(kind, strength) for kind in CORRUPTIONS for strength in STRENGTHS]
    judges: dict[str, Judge] = {"": head} | {probe.name: probe.hits for probe in probes}

    def judged(number: int, kind: str, strength: int) -> dict[str, Hits]:
        images = Corrupted(part.images, part.keys, kind, strength, seed)
        vectors = embedder.embed_images(images, progress=lambda done: told(number * len(part) + done))
        return {name: judge(vectors, part.labels) for name, judge in judges.items()}

    clean = judged(0, cells[0][0], 0)  # as the others, but for the corruption: large pictures are made smaller first
    worse = {cell: judged(number, *cell) for number, cell in enumerate(cells, start=1)}
    result = corruption_result(
        part.name, "plain", clean[""], {cell: hits[""] for cell, hits in worse.items()}, len(part.classes)
    )
    means = {name: np.mean([hits[name] for hits in worse.values()], axis=0) for name in judges}
    found = shift(
        CORRUPTED, (clean[""], means[""]), {probe.name: (clean[probe.name], means[probe.name]) for probe in probes}, why
    )
    first, *each = result.rows
    value, low, high = _finite(result.mean)
    mean = replace(first, split=CORRUPTED, value=value, low=low, high=high, interval="normal")
    rows = (first, mean, *found.rows(part.name, len(part.classes)), *each)
    return Outcome(rows, {"corruptions": result.to_json(), "pictures": part.made, "corruption_shift": found.to_json()})


def _point(name: str, sides: Sides) -> Point:
    without, under = sides
    return Point(name, float(without.mean()), float(under.mean()), len(without), len(under))


def _finite(estimate: Estimate) -> tuple[float, float, float]:
    value, low, high = (float(np.nan if end is None else end) for end in astuple(estimate))
    return value, low, high

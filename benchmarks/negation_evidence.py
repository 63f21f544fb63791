"""Figures of models on the tests of negation, and how they differ: what benchmarks/negation.py prints.

Every figure is the mean over seeds. Its interval is that of the pictures (cluster bootstrap, each with the mean of what
the seeds made of it), and beside it stands the standard deviation over seeds. A difference is paired: the same
questions about the same pictures.

Shapes: Q questions or queries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress
from statistics import stdev
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from sightword.evaluation.bootstrap import Estimate, bootstrap
from sightword.evaluation.charts import FAINT, FIRST, SECOND, Chart
from sightword.evaluation.records import Record
from sightword.evaluation.weighted import Difference, Mean

Floats: TypeAlias = NDArray[np.float64]
MEAN = "mean of presence and absence"
START = "start"
# The measure, its data set, the kind of question or query, and the rank that is good enough.
_MEASURES: tuple[tuple[str, str, str, int], ...] = (
    ("presence", "scenes_presence", "", 1),
    ("absence", "scenes_absence", "", 1),
    ("choice: affirmation", "scenes_choice", "affirmation", 1),
    ("choice: negation", "scenes_choice", "negation", 1),
    ("choice: hybrid", "scenes_choice", "hybrid", 1),
    ("plain queries R@5", "scenes_negated_retrieval", "plain", 5),
    ("negated queries (last) R@5", "scenes_negated_retrieval", "negation last", 5),
    ("negated queries (first) R@5", "scenes_negated_retrieval", "negation first", 5),
    ("short captions R@1", "scenes_short", "", 1),
    ("short captions R@5", "scenes_short", "", 5),
)
DATA = tuple(dict.fromkeys(data for _, data, _, _ in _MEASURES))


@dataclass(frozen=True)
class Hits:
    """right [Q], 0 or 1, and the picture of each [Q]."""

    data: str
    right: Floats
    pictures: tuple[str, ...]


Measured: TypeAlias = Mapping[str, Hits]
"""Of one model, by measure."""


def measures_of(records: Sequence[Record], unseen: Mapping[str, Sequence[bool]]) -> dict[str, Hits]:
    """unseen: of presence and absence, the questions none of whose texts stands in the training."""
    by_data = {record.data["name"]: record for record in records}
    found = {}
    for measure, data, kind, good in _MEASURES:
        record = by_data[data]
        outcomes = record.outcomes
        if record.task == "retrieval":
            rank, groups = outcomes[f"rank {kind or 'bare'}"] - 1, outcomes[f"groups {kind or 'bare'}"]
        else:
            rank, groups = outcomes["rank bare"], outcomes["groups"]
            if kind:
                kinds = [one["name"] for one in record.details["choices"]["kinds"]]
                mine = outcomes["labels"] == kinds.index(kind)
                rank, groups = rank[mine], groups[mine]
        found[measure] = Hits(data, (rank < good).astype(np.float64), tuple(map(str, groups.tolist())))
    one, other = found["presence"], found["absence"]
    if one.pictures != other.pictures:
        raise ValueError("presence and absence were not asked of the same pictures")
    data = f"{one.data} + {other.data}"
    mean = Hits(data, (one.right + other.right) / 2, one.pictures)
    for measure in ("presence", "absence"):
        mine = np.array(unseen[found[measure].data], np.bool_)
        if mine.any():
            pictures = tuple(compress(found[measure].pictures, mine.tolist()))
            found[f"{measure}, texts not in training"] = Hits(found[measure].data, found[measure].right[mine], pictures)
    return {"presence": one, "absence": other, MEAN: mean, **found}


def value_of(measured: Sequence[Measured], measure: str) -> Estimate:
    """measured: of the seeds."""
    return bootstrap(_mean(measured, measure), measured[0][measure].pictures)


def difference_of(first: Sequence[Measured], second: Sequence[Measured], measure: str) -> Estimate:
    """second - first, seed by seed."""
    return bootstrap(Difference(_mean(second, measure), _mean(first, measure)), first[0][measure].pictures)


def _mean(measured: Sequence[Measured], measure: str) -> Mean:
    return Mean(np.mean([one[measure].right for one in measured], axis=0))


def rows_of(name: str, starts: Sequence[Measured], tuned: Sequence[Measured]) -> list[dict[str, Any]]:
    """A row for each measure: value, and the difference to the start in points (absolute) and as a share of it
    (relative)."""
    rows = []
    for measure in tuned[0]:
        value, gain = value_of(tuned, measure), difference_of(starts, tuned, measure)
        before = value.value - gain.value
        gains = [
            float(one[measure].right.mean() - start[measure].right.mean())
            for start, one in zip(starts, tuned, strict=True)
        ]
        rows.append(
            {
                "variant": name,
                "measure": measure,
                "benchmark": tuned[0][measure].data,
                "value": value.value,
                "low": value.low,
                "high": value.high,
                "start": before,
                "points": gain.value,
                "points_low": gain.low,
                "points_high": gain.high,
                "relative": gain.value / before if before else None,
                "deviation_of_seeds": stdev(gains) if len(gains) > 1 else None,
                "seeds": len(tuned),
                "n": len(tuned[0][measure].right),
            }
        )
    return rows


def overview(rows: Sequence[Mapping[str, Any]], kept: Mapping[str, float], trained: Mapping[str, int]) -> str:
    """A line for each variant, values alone. kept: of the retention set; trained: parameters."""
    measures = list(dict.fromkeys(row["measure"] for row in rows))
    heads = ["variant", "trained", *measures, "retention"]
    lines = [heads, ["---"] * len(heads)]
    for name in dict.fromkeys(row["variant"] for row in rows):
        mine = {row["measure"]: f"{100 * row['value']:.1f}" for row in rows if row["variant"] == name}
        count = f"{trained[name]:,}" if name in trained else ""
        share = f"{100 * kept[name]:.1f}" if name in kept else ""
        lines.append([name, count, *(mine[measure] for measure in measures), share])
    return _table(lines)


def differences(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for each variant and measure."""
    heads = ["variant", "measure", "benchmark", "n", "seeds", "start, %", "value, %", "points, absolute (95 %)"]
    heads += ["of the start, relative", "deviation of seeds, points"]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        low, high = (100 * row[end] for end in ("points_low", "points_high"))
        lines.append(
            [
                row["variant"],
                row["measure"],
                row["benchmark"],
                f"{row['n']:,}",
                str(row["seeds"]),
                f"{100 * row['start']:.1f}",
                f"{100 * row['value']:.1f} ({100 * row['low']:.1f} to {100 * row['high']:.1f})",
                f"{100 * row['points']:+.1f} ({low:+.1f} to {high:+.1f})",
                "" if row["relative"] is None else f"({100 * row['relative']:+.1f} %)",
                "" if row["deviation_of_seeds"] is None else f"{100 * row['deviation_of_seeds']:.1f}",
            ]
        )
    return _table(lines)


def against(ours: str, other: str, first: Sequence[Measured], second: Sequence[Measured]) -> dict[str, Any]:
    """Ours less the other's, at equal steps, on the mean of presence and absence. second: ours."""
    found = difference_of(first, second, MEAN)
    return {
        "ours": ours,
        "other": other,
        "measure": MEAN,
        "points": found.value,
        "low": found.low,
        "high": found.high,
        "seeds": len(second),
        "n": len(second[0][MEAN].right),
        "settled": not found.low <= 0 <= found.high,
    }


def compared(found: Sequence[Mapping[str, Any]]) -> str:
    lines = [["ours", "less", "measure", "n", "seeds", "points, absolute (95 %, paired)", "leaves out 0"], ["---"] * 7]
    lines += [
        [
            one["ours"], one["other"], one["measure"], f"{one['n']:,}", str(one["seeds"]),
            f"{100 * one['points']:+.1f} ({100 * one['low']:+.1f} to {100 * one['high']:+.1f})",
            "yes" if one["settled"] else "no",
        ]
        for one in found
    ]  # fmt: skip
    return _table(lines)


def ablations_chart(rows: Sequence[Mapping[str, Any]]) -> Chart:
    """Presence and absence of every variant."""
    names = list(dict.fromkeys(row["variant"] for row in rows))
    caption = "Presence (circles) and absence (squares), on held-out combinations; 95 % intervals; chance is 50 %."
    return Chart(partial(_draw, rows, names), (6.5, 1.0 + 0.3 * len(names)), "Ablations", caption, caption)


def _draw(rows: Sequence[Mapping[str, Any]], names: Sequence[str], axes: Axes) -> None:
    axes.axvline(50, color=FAINT, linewidth=1, linestyle=":")
    for measure, colour, marker, shift in (("presence", FIRST, "o", -0.1), ("absence", SECOND, "s", 0.1)):
        mine = {row["variant"]: row for row in rows if row["measure"] == measure}
        x, low, high = (100 * np.array([mine[name][key] for name in names]) for key in ("value", "low", "high"))
        axes.errorbar(
            x, np.arange(len(names)) + shift, xerr=np.maximum([x - low, high - x], 0), fmt=marker, color=colour,
            label=measure, capsize=2, markersize=4, linewidth=1.2,
        )  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("right, %")
    axes.legend(loc="best", fontsize=8)


def _table(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

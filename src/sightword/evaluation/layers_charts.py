"""The figures of the task `layers`: what each block of the text towers knows of denials, and what pulls at it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from sightword.evaluation.charts import FAINT, Chart
from sightword.evaluation.layer_names import DENIED_THING, DISTANCE, GRADIENT, LOSSES, NEGATED, TWINS
from sightword.evaluation.records import Record
from sightword.evaluation.results_charts import LOOKS, label, legend, of_each
from sightword.evaluation.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE = (4.6, 3.2)
_Found: TypeAlias = Sequence[tuple[str, Sequence[Row]]]
_PROBES = {
    NEGATED: "Probe: does the text deny anything?",
    DENIED_THING: "Probe: which of two things is denied?",
}


def layer_charts(found: Sequence[tuple[str, Record]]) -> list[Chart]:
    """found: models by name, on the same captions."""
    made = []
    for what, title in _PROBES.items():
        rows = _rows(found, what, "top1")
        if rows:
            caption = (
                f"{of_each(rows, _best)}. Names and pictures of the test are others than those that the probe learnt "
                "from; chance is 50 % (dotted). `tokens` is the text without the order of its words. 95 % intervals."
            )
            made.append(Chart(partial(_draw, rows, "right, %", 100.0, 50.0), _SIZE, title, caption, caption))
    rows = _rows(found, TWINS, DISTANCE)
    caption = f"{of_each(rows, _last)}. At the pooled position, before the last norm; 95 % intervals over pictures."
    title = "How far a caption is from its denial"
    made.append(Chart(partial(_draw, rows, "1 - cosine", 1.0, None), _SIZE, title, caption, caption))
    for loss in LOSSES:
        rows = _rows(found, loss, GRADIENT)
        caption = (
            f"{of_each(rows, _strongest)}. Of Omni-NegCLIP's loss ({loss}), by block; the bars reach from the least to "
            "the most of the batches."
        )
        title = f"Gradients of negation: {loss}"
        made.append(
            Chart(partial(_draw, rows, "ln(|gradient| / |weights|)", 1.0, None), _SIZE, title, caption, caption)
        )
    return made


def _rows(found: Sequence[tuple[str, Record]], prompt: str, metric: str) -> _Found:
    mine = [
        (model, [row for row in record.rows if (row.prompt, row.metric) == (prompt, metric)]) for model, record in found
    ]
    return [(model, rows) for model, rows in mine if rows]


def _draw(found: _Found, what: str, times: float, chance: float | None, axes: Axes) -> None:
    # Towers may have more or fewer blocks: the longest names the places.
    levels = max(([row.split for row in rows] for _, rows in found), key=len)
    if chance is not None:
        axes.axhline(chance, color=FAINT, linewidth=1.0, linestyle=":")
    for number, (model, rows) in enumerate(found):
        colour, marker, line = LOOKS[number % len(LOOKS)]
        y, low, high = (times * np.array([getattr(row, key) for row in rows]) for key in ("value", "low", "high"))
        x = np.array([levels.index(row.split) for row in rows]) + 0.08 * (number - (len(found) - 1) / 2)
        axes.errorbar(
            x, y, yerr=np.maximum([y - low, high - y], 0), fmt=marker, linestyle=line, color=colour, label=label(model),
            capsize=2, linewidth=1.2, markersize=4,
        )  # fmt: skip
    axes.set_xticks(range(len(levels)), [level.removeprefix("block ") for level in levels])
    axes.set_xlabel("block of the text tower")
    axes.set_ylabel(what)
    legend(axes, len(found))


def _best(rows: Sequence[Row]) -> str:
    first, best = rows[0], max(rows, key=lambda row: row.value)
    return f"{100 * first.value:.1f} % at {first.split}, and {100 * best.value:.1f} % at {best.split}, the most"


def _last(rows: Sequence[Row]) -> str:
    most = max(rows, key=lambda row: row.value)
    return f"{rows[-1].value:.3f} after the last block, and {most.value:.3f} at {most.split}, the most"


def _strongest(rows: Sequence[Row]) -> str:
    most = max(rows, key=lambda row: row.value)
    return f"strongest at {most.split} ({most.value:.2f})"

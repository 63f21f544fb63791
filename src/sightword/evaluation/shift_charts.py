"""Figures of robustness: accuracy under a shift by accuracy without it, in logits, with the line of the probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sightword.evaluation.charts import INK, Chart
from sightword.evaluation.results_charts import LOOKS, ByModel, label, legend, of_each
from sightword.evaluation.robustness import Line, Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Per cent, about evenly far in logits; the others where there is room.
_TICKS = np.array([0.1, 0.3, 1, 3, 10, 30, 50, 70, 90, 97, 99, 99.7, 99.9])
_MORE_TICKS = np.sort([*_TICKS, 0.5, 2, 5, 20, 40, 60, 80, 95, 98, 99.5])
_ROOM = 5.0  # logits
_INSIDE = 0.0005  # what is always or never right is drawn at the edge


def shifts_of(details: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """All shifts of a record: of styles, and the corruptions together."""
    corrupted = details.get("corruption_shift")
    return [*details.get("style_shifts", ()), *([corrupted] if corrupted else ())]


def shift_charts(found: ByModel) -> list[Chart]:
    """found: the details of each model's record. A figure for each shift that a model has a line for."""
    names = dict.fromkeys(one["name"] for _, details in found for one in shifts_of(details) if one["line"])
    return [
        shift_chart(
            name,
            [(model, one) for model, details in found for one in shifts_of(details) if one["name"] == name],
        )
        for name in names
    ]


def shift_chart(name: str, found: ByModel) -> Chart:
    """found: each model's shift, with or without a line."""

    def draw(axes: Axes) -> None:
        points = [point for _, one in found for point in (one["point"], *_line_points(one))]
        x_N, y_N = (_logit(np.array([point[key] for point in points])) for key in ("reference", "shift"))
        ends = min(x_N.min(), y_N.min()) - 0.3, max(x_N.max(), y_N.max()) + 0.3
        axes.plot(ends, ends, color=INK, linewidth=0.8, linestyle=":")
        for number, (model, one) in enumerate(found):
            colour, marker, style = LOOKS[number % len(LOOKS)]
            mine = _line_points(one)
            if mine:
                line = read_line(one["line"])
                axes.plot(*_places(mine), marker, linestyle="", color=colour, markersize=3.5, alpha=0.6)
                x = np.linspace(*ends, 50)
                share = 1 / (1 + np.exp(-x))
                low, high = line.band(share)
                axes.fill_between(x, _logit(low), _logit(high), color=colour, alpha=0.15, linewidth=0)
                axes.plot(x, _logit(line.predict(share)), linestyle=style, color=colour, linewidth=1.2)
            axes.plot(
                *_places([one["point"]]), "*", linestyle="", color=colour, markersize=12, markeredgecolor=INK, zorder=3,
                label=label(model),
            )  # fmt: skip
        ticks = _MORE_TICKS if ends[1] - ends[0] < _ROOM else _TICKS
        places = _logit(ticks / 100)
        inside = (places >= ends[0]) & (places <= ends[1])
        shown = [f"{tick:g}" for tick in ticks[inside]]
        axes.set_xticks(places[inside], shown)
        axes.set_yticks(places[inside], shown)
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        axes.set_aspect("equal")
        axes.set_xlabel("top-1 without the shift, % (logits)")
        axes.set_ylabel("top-1 under the shift, %")
        legend(axes, len(found))

    said = of_each(found, in_words)
    caption = (
        f"{said}. Stars: zero-shot, plain prompt. Points: probes trained on 1 to 16 pictures of each class, with the "
        "line through them in logits and its 95 % band. On the dotted line nothing is lost."
    )
    return Chart(draw, (4.3, 4.0), f"Effective robustness, {name}", caption, caption)


def in_words(one: Mapping[str, Any]) -> str:
    if one["effective"] is None:
        return f"no line ({one['why']})"
    effective = one["effective"]["effective"]
    low, value, high = (f"{100 * effective[key]:+.1f}".replace("-", "−") for key in ("low", "value", "high"))
    return f"{value} points ({low} to {high}) beyond what probes of its accuracy keep"


def read_line(values: Mapping[str, Any]) -> Line:
    """As a record has it."""
    return Line(**{**values, "points": tuple(Point(**point) for point in values["points"])})


def _line_points(one: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return one["line"]["points"] if one["line"] else ()


def _places(points: Sequence[Mapping[str, Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = (_logit(np.array([point[key] for point in points])) for key in ("reference", "shift"))
    return x, y


def _logit(share: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.clip(share, _INSIDE, 1 - _INSIDE)
    found: NDArray[np.float64] = np.log(inside / (1 - inside))
    return found

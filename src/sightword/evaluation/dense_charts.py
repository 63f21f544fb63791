"""The figures of segmentation, as those of the report of results: each takes what several models got on one test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sightword.evaluation.charts import INK, Chart
from sightword.evaluation.results_charts import LOOKS, ByModel, label, legend, of_each

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE = (4.3, 3.0)  # inches


def label_set_chart(found: ByModel) -> Chart:
    """Mean IoU by how many names are added that are not asked for; and, of one model, its calibration error."""

    def draw(axes: Axes) -> None:
        for number, (model, diagnostics) in enumerate(found):
            _line(axes, number, label(model) if len(found) > 1 else "mean IoU", diagnostics["label_sets"], "miou")
            if diagnostics["synonyms"]:
                place = diagnostics["synonyms"]["miou"]["value"]
                axes.axhline(100 * place, color=LOOKS[number % len(LOOKS)][0], linewidth=0.8, linestyle=":")
        if len(found) == 1:
            _line(axes, 1, "calibration error", found[0][1]["label_sets"], "ece")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("names added to those of each picture")
        axes.set_ylabel("mean IoU, %" if len(found) > 1 else "%")
        legend(axes, 2)

    said = of_each(found, _in_words)
    dotted = " Dotted: with synonyms, no names added." if any(one["synonyms"] for _, one in found) else ""
    caption = f"{said}.{dotted} Bars: 95 % intervals over pictures."
    return Chart(draw, _SIZE, "Mean IoU by labels in the list", caption, f"{said}.")


def pixel_reliability_chart(found: ByModel) -> Chart:
    """How often pixels are right, by the score of the label that they got."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 100], [0, 100], color=INK, linewidth=0.8, linestyle=":")
        for number, (model, diagnostics) in enumerate(found):
            colour, marker, line = LOOKS[number % len(LOOKS)]
            bins = diagnostics["calibration"]["reliability"]
            x, y = (100 * np.array([one[key] for one in bins]) for key in ("confidence", "accuracy"))
            axes.plot(x, y, line, marker=marker, color=colour, label=label(model), linewidth=1.2, markersize=4)
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.set_aspect("equal")
        axes.set_xlabel("mean score of the pixel's label, %")
        axes.set_ylabel("pixels that are right, %")
        legend(axes, len(found))

    said = of_each(
        found,
        lambda one: (
            f"mean score {100 * one['calibration']['confidence']:.1f} %, "
            f"{100 * one['calibration']['right']:.1f} % of {one['calibration']['pixels']:,} pixels right, "
            f"expected calibration error {_interval(one['calibration']['ece'])}"
        ),
    )
    return Chart(draw, _SIZE, "Reliability of pixels", f"{said}.", f"{said}.")


def _line(axes: Axes, number: int, name: str, points: list[Mapping[str, Any]], what: str) -> None:
    colour, marker, line = LOOKS[number % len(LOOKS)]
    x = [one["distractors"] for one in points]
    y, low, high = (100 * np.array([one[what][key] for one in points]) for key in ("value", "low", "high"))
    axes.errorbar(
        x, y, yerr=np.maximum([y - low, high - y], 0), fmt=marker, linestyle=line, color=colour, label=name, capsize=2,
        linewidth=1.2, markersize=4,
    )  # fmt: skip


def _in_words(diagnostics: Mapping[str, Any]) -> str:
    first, last = diagnostics["label_sets"][0], diagnostics["label_sets"][-1]
    words = f"mean IoU {100 * first['miou']['value']:.1f} %"
    if last["distractors"]:
        words += f", {100 * last['miou']['value']:.1f} % with {last['distractors']} more names"
    if diagnostics["synonyms"]:
        words += f", {100 * diagnostics['synonyms']['miou']['value']:.1f} % with synonyms"
    return words


def _interval(measured: Mapping[str, float]) -> str:
    return f"{measured['value']:.3f} ({measured['low']:.3f} to {measured['high']:.3f})"

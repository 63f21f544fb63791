"""The figures of what records say together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sightword.evaluation.across import Difficulty, Scaling, Worth, difficulties, scaling, worths
from sightword.evaluation.charts import FAINT, INK, Chart
from sightword.evaluation.difficulty import Agreement
from sightword.evaluation.estimates import Estimate
from sightword.evaluation.few_shot import SHOTS
from sightword.evaluation.records import Record
from sightword.evaluation.results_charts import LOOKS, label, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHIFT = 0.8  # points: many classes lie on one place, and none is to hide another


def difficulty_chart(found: Difficulty) -> Chart:
    """Accuracy of each class by the first model and by the others."""
    (first, x), *others = found.accuracies.items()

    def draw(axes: Axes) -> None:
        rng = np.random.default_rng(0)
        axes.plot([0, 100], [0, 100], color=INK, linewidth=0.8, linestyle=":")
        for number, (model, y) in enumerate(others):
            colour, marker, _ = LOOKS[(number + 1) % len(LOOKS)]
            both = np.isfinite(x) & np.isfinite(y)
            places = [100 * one[both] + rng.uniform(-_SHIFT, _SHIFT, int(both.sum())) for one in (x, y)]
            axes.plot(*places, marker, color=colour, label=label(model), markersize=4, alpha=0.6, linestyle="")
        axes.set_xlim(-3, 103)
        axes.set_ylim(-3, 103)
        axes.set_aspect("equal")
        axes.set_xlabel(f"classes by {first}, %", parse_math=False)
        axes.set_ylabel(f"by {others[0][0]}, %" if len(others) == 1 else "by the others, %", parse_math=False)
        legend(axes, len(others))

    said = f"{'; '.join(_agreement(one) for one in found.agreements)}."
    if found.halves:
        said += (
            f" For comparison, {first} on one half of the pictures and on the other: "
            f"{_estimate(found.halves.spearman)}; few pictures a class draw all of these numbers towards 0."
        )
    title = f"Are the same classes hard? {found.data}"
    caption = (
        f"Rank correlation (Spearman) of the accuracies by class, 1 where both order them alike. {said} Points are "
        "moved a little apart."
    )
    return Chart(draw, (4.3, 4.0), title, caption, caption)


def scaling_chart(found: Scaling) -> Chart:
    """Error over size, both logarithmic, with the fitted line."""
    law = found.law

    def draw(axes: Axes) -> None:
        x = np.geomspace(law.compute[0], law.compute[-1], 50)
        band = [law.error_at(float(one)) for one in x]
        low, high = ([100 * _end(one, side) for one in band] for side in ("low", "high"))
        colour, marker, _ = LOOKS[0]
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(x, 100 * law.factor * x ** float(law.exponent.value or 0.0), color=colour, linewidth=1.4)
        axes.plot(law.compute, 100 * np.array(law.error), marker, color=colour, linestyle="")
        for model, at, error in zip(found.models, law.compute, law.error, strict=True):
            axes.annotate(
                model, (at, 100 * error), (3, 5), textcoords="offset points", fontsize=7, parse_math=False, clip_on=True
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel(found.size)
        axes.set_ylabel("error, %")
        axes.margins(x=0.15)
        axes.set_ylim(50 * min(law.error), 200 * max(law.error))  # of few points the band is wider than a page

    value, low, high = (
        f"{end:.3g}".replace("-", "−")
        for end in (law.exponent.value, law.exponent.low, law.exponent.high)
        if end is not None
    )
    factor = 10 ** float(law.exponent.value or 0.0)
    far = law.exponent.high is not None and law.exponent.high < 0
    over = f"the mean over {len(found.tests)} data sets" if len(found.tests) > 1 else found.tests[0]
    caption = (
        f"Error (1 − the data set's own metric, plain prompt, {over}) over {found.size}: exponent {value} "
        f"({low} to {high}), so ten times as much {'leaves' if factor < 1 else 'gives'} {factor:.2f} of the error. "
        + (
            "The interval leaves out 0."
            if far
            else f"With {len(law.error)} checkpoints the interval does not say that the error falls at all."
        )
        + f" R² of the logarithms {law.r2:.2f}. A straight line is assumed, whatever else the models differ in."
    )
    return Chart(draw, (4.3, 3.0), "Error by size", caption, caption)


def worth_chart(found: Sequence[Worth]) -> Chart:
    """Per data set and model: how many training pictures of each class equal the zero-shot head."""
    data_sets = list(dict.fromkeys(data for one in found for data in one.shots.data_sets))

    def draw(axes: Axes) -> None:
        for number, one in enumerate(found):
            colour, marker, _ = LOOKS[number % len(LOOKS)]
            for data, reached in one.shots.data_sets.items():
                y = data_sets.index(data) + 0.16 * (number - (len(found) - 1) / 2)
                at = reached.amount
                value = float(at.value or 0.0)
                low, high = (value if end is None else end for end in (at.low, at.high))
                axes.plot([low, high], [y, y], color=colour, linewidth=1.2)
                symbol = {">": ">", "<": "<"}.get(reached.bound, marker)
                axes.plot([value], [y], symbol, color=colour, markersize=6, linestyle="")
            axes.plot([], [], marker, color=colour, linestyle="", label=label(one.model))
        axes.set_xscale("log", base=2)
        axes.set_xticks(SHOTS, [str(k) for k in SHOTS])
        axes.set_xlim(SHOTS[0] / 1.4, SHOTS[-1] * 1.4)
        axes.minorticks_off()
        axes.set_yticks(range(len(data_sets)), data_sets)
        for text in axes.get_yticklabels():
            text.set_parse_math(False)
        axes.set_ylim(len(data_sets) - 0.5, -0.5 - 0.5 * len(found) * (len(found) > 1))  # room for the legend
        axes.grid(axis="y", color=FAINT, linewidth=0.4)
        axes.set_xlabel("training pictures of each class")
        legend(axes, len(found))

    said = "; ".join(_worth(one) for one in found)
    caption = (
        f"How many labelled pictures of each class a linear probe needs to equal the zero-shot head of the same model: "
        f"{said}. A triangle to the left is no more than the first number that was tried (and counts as that in a "
        "median), one to the right more than the last. The lines are 95 % intervals over draws and over the test's "
        "pictures."
    )
    return Chart(
        draw,
        (4.8, 1.4 + 0.35 * (len(data_sets) + len(found) / 2)),
        "What the zero-shot head is worth",
        caption,
        caption,
    )


def across_charts(records: Sequence[Record]) -> list[Chart]:
    """Those for which the records have the data."""
    made = [difficulty_chart(one) for one in difficulties(records)]
    found = scaling(records)
    if found:
        made.append(scaling_chart(found))
    few = worths(records)
    # Of one model on one data set, the few-shot figure says it.
    return [*made, worth_chart(few)] if sum(len(one.shots.data_sets) for one in few) > 1 else made


def _worth(one: Worth) -> str:
    """Of one data set its number, of several their median."""
    reached = [*one.shots.data_sets.values()]
    if len(reached) == 1:
        how = {"<": "at most", ">": "more than", "": "about"}[reached[0].bound]
        return f"{one.model}: {how} {reached[0].amount.value:.3g} of each class"
    if one.shots.median is None:
        return f"{one.model}: in the median of {len(reached)} data sets more than were tried"
    return f"{one.model}: {one.shots.median:.3g} of each class in the median of {len(reached)} data sets"


def _agreement(one: Agreement) -> str:
    first, second = one.models
    settled = one.spearman.low is not None and one.spearman.low > 0
    words = "" if settled else ", which chance could make"
    return f"{first} and {second} {_estimate(one.spearman)} over {one.classes:,} classes{words}"


def _estimate(one: Estimate) -> str:
    value, low, high = (f"{end:.2f}".replace("-", "−") for end in (one.value, one.low, one.high) if end is not None)
    return f"{value} ({low} to {high})"


def _end(one: Estimate, side: str) -> float:
    end = getattr(one, side)
    return float(one.value or 0.0) if end is None else float(end)

"""The figures of a run's report: its curves, and accuracy by vendor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sightword.evaluation.charts import FAINT, FIRST, INK, SECOND, Chart
from sightword.evaluation.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Event: TypeAlias = Mapping[str, Any]
_POINTS = 1000  # more of them than a figure has pixels only swell the file


def loss_chart(events: Sequence[Event]) -> Chart | None:
    """The loss of each logged step, and its running mean. None where no step was logged; so for all curves."""
    step_N, loss_N = _series(events, "loss")
    if not len(step_N):
        return None
    window = len(loss_N) // 25
    caption = "Each point is one batch."

    def draw(axes: Axes) -> None:
        shown = slice(None, None, -(-len(step_N) // _POINTS))
        smooth = window > 1
        axes.plot(step_N[shown], loss_N[shown], ".-", color=FAINT if smooth else FIRST, linewidth=0.8, markersize=3)
        if smooth:
            mean = np.convolve(loss_N, np.full(window, 1 / window), mode="valid")
            centre = np.convolve(step_N, np.full(window, 1 / window), mode="valid")
            axes.plot(centre[shown], mean[shown], color=FIRST, linewidth=1.8)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("step")

    if window > 1:
        caption += f" The heavy line is the mean of {window} logged steps."
    alt = (
        f"The training loss goes from {loss_N[0]:.2f} at step {step_N[0]:.0f} to {loss_N[-1]:.2f} at {step_N[-1]:.0f}."
    )
    return Chart(draw, (4.3, 2.7), "Training loss", caption, alt)


def validation_chart(events: Sequence[Event]) -> Chart | None:
    """Top-1 of the held-out pairs, with its interval."""
    rows = [(event["step"], event["row"]) for event in events if event["event"] == "validation"]
    if not rows:
        return None
    step_N = [step for step, _ in rows]
    value_N, low_N, high_N = (100 * np.array([row[key] for _, row in rows]) for key in ("value", "low", "high"))

    def draw(axes: Axes) -> None:
        axes.fill_between(step_N, low_N, high_N, color=FIRST, alpha=0.18, linewidth=0)
        axes.plot(step_N, value_N, ".-", color=FIRST, linewidth=1.8, markersize=6)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("step")
        axes.set_ylabel("top-1, %")

    last = rows[-1][1]
    caption = (
        f"Top-1 of {last['n']:,} {last['test']} among {last['classes']:,} names, {last['prompt']} prompt. "
        "The band is the 95 % interval."
    )
    alt = f"Validation top-1 goes from {value_N[0]:.1f} % at step {step_N[0]} to {value_N[-1]:.1f} % at {step_N[-1]}."
    return Chart(draw, (4.3, 2.7), "Validation accuracy", caption, alt)


def learning_rate_chart(events: Sequence[Event]) -> Chart | None:
    step_N, rate_N = _series(events, "lr")
    alt = f"The learning rate is {max(rate_N, default=0):.1e} at its highest."
    return _line(step_N, rate_N, "Learning rate", "AdamW's, before a tower's own factor.", alt)


def temperature_chart(events: Sequence[Event]) -> Chart | None:
    step_N, scale_N = _series(events, "scale")
    heat_N = 1 / scale_N
    alt = f"The temperature ends at {heat_N[-1]:.4f}." if len(heat_N) else ""
    return _line(step_N, heat_N, "Temperature", "Cosines are divided by it before the softmax; it is learned.", alt)


def vendor_chart(bars: Sequence[tuple[str, bool, Row]], title: str, caption: str) -> Chart:
    """Accuracy by vendor. bars: (vendor, whether training saw its style, row), from top to bottom."""

    def draw(axes: Axes) -> None:
        from matplotlib.patches import Patch

        # Half a bar of air where the trained styles end.
        place = [i + (0 if trained else 0.6) for i, (_, trained, _) in enumerate(bars)]
        for y, (_, trained, row) in zip(place, bars, strict=True):
            value, low, high = 100 * row.value, 100 * row.low, 100 * row.high
            look = _look(trained)
            axes.barh(y, value, height=0.68, **look)
            axes.errorbar(
                value, y, xerr=[[max(value - low, 0)], [max(high - value, 0)]], color=INK, capsize=2.5, linewidth=1.2
            )
            axes.text(high + 2, y, f"{value:.1f}", va="center")
        axes.set_yticks(place, [vendor for vendor, _, _ in bars], parse_math=False)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.invert_yaxis()
        axes.set_xlim(0, 112)
        axes.set_xticks(range(0, 101, 20))
        axes.set_xlabel("top-1, %")
        kinds = sorted({trained for _, trained, _ in bars}, reverse=True)
        handles = [Patch(label="trained style" if trained else "unseen style", **_look(trained)) for trained in kinds]
        axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.45, 1), ncols=2)

    alt = "; ".join(
        f"{vendor} ({'trained' if trained else 'unseen'} style) {100 * row.value:.1f} %"
        for vendor, trained, row in bars
    )
    return Chart(draw, (4.3, 0.9 + 0.29 * len(bars)), title, caption, f"Top-1 by vendor: {alt}.")


def _look(trained: bool) -> dict[str, Any]:
    return (
        {"facecolor": FIRST} if trained else {"facecolor": SECOND, "hatch": "///", "edgecolor": "white", "linewidth": 0}
    )


def _line(x_N: NDArray[np.float64], y_N: NDArray[np.float64], title: str, caption: str, alt: str) -> Chart | None:
    if not len(x_N):
        return None

    def draw(axes: Axes) -> None:
        shown = slice(None, None, -(-len(x_N) // _POINTS))
        axes.plot(x_N[shown], y_N[shown], "-" if len(x_N) > 30 else ".-", color=FIRST, linewidth=1.4)
        axes.ticklabel_format(axis="y", scilimits=(-3, 4), useOffset=False)
        axes.locator_params(axis="y", nbins=4)
        axes.set_ylim(0, 1.1 * y_N.max() or 1)
        axes.set_xlabel("step")

    return Chart(draw, (4.3, 1.6), title, caption, alt)


def _series(events: Sequence[Event], key: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps [N] and a figure of theirs [N]."""
    steps = [event for event in events if event["event"] == "step"]
    return np.array([e["step"] for e in steps], dtype=np.float64), np.array([e[key] for e in steps], dtype=np.float64)

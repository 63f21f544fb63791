"""A figure of a report: SVG with a transparent ground, so that it stays sharp at every size and in print.

Matplotlib comes with the `train` extra and is imported when a figure is drawn, never before.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightword.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Told apart by hatching as well as by hue, and both in the middle of the range of lightness: the report inverts the
# lightness of figures for dark screens.
INK, FAINT, FIRST, SECOND = "#20242a", "#c3c9d1", "#2f6f9f", "#cf7a2c"
_STYLE: Any = {  # new releases of Matplotlib list the keys in the type, older ones do not
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "DejaVu Sans",  # comes with Matplotlib
    "font.size": 9,
    "grid.color": "#e3e6ea",
    "hatch.color": "#ffffff",
    "hatch.linewidth": 1.6,
    "legend.frameon": False,
    "svg.hashsalt": "sightword",  # equal figures, equal bytes
    "text.color": INK,
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
}
_DOTS = 200  # an inch, of a PNG
MARK = "Sightword report figure"
"""In the metadata of every figure: by it a later report knows which files are its to replace."""
KINDS = ("svg", "png")


@dataclass(frozen=True)
class Chart:
    """draw: onto axes. size: inches. title, caption: plain text. alt: what it shows, for those who do not see it."""

    draw: Callable[[Axes], None]
    size: tuple[float, float]
    title: str
    caption: str
    alt: str

    @property
    def uri(self) -> str:
        """The picture, as a data URI."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg).decode('ascii')}"

    @cached_property
    def svg(self) -> bytes:
        return self._drawn(format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Title": MARK})

    def save(self, folder: Path, name: str) -> None:
        """As NAME.svg and NAME.png, for papers and slides."""
        png = self._drawn(format="png", dpi=_DOTS, metadata={"Title": MARK})
        for kind, content in zip(KINDS, (self.svg, png), strict=True):
            with whole_file(folder / f"{name}.{kind}") as temporary:
                temporary.write_bytes(content)

    def _drawn(self, **how: Any) -> bytes:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        with matplotlib.rc_context():
            # A person's matplotlibrc (LaTeX, another backend) must not decide whether a report can be written.
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_STYLE)
            figure = Figure(figsize=self.size, layout="constrained")
            FigureCanvasAgg(figure)
            self.draw(figure.add_subplot())
            buffer = io.BytesIO()
            figure.savefig(buffer, **how)
        return buffer.getvalue()

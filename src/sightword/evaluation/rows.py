"""One row of evidence, with the keys that every result in Sightword has."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sightword.evaluation.intervals import wilson


@dataclass(frozen=True, slots=True)
class Row:
    """value, low, high: fractions, the last two the ends of the 95 % interval. n: how many were judged. classes: among
    how many names. prompt: `bare`, `plain` or `ensemble`. split: which part of the data. interval: how it was made."""

    test: str
    split: str
    prompt: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    classes: int
    interval: str = "wilson"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def share_row(test: str, split: str, prompt: str, metric: str, hits: int, n: int, classes: int) -> Row:
    """A row for `hits` of `n`, with Wilson's interval."""
    low, high = wilson(hits, n)
    return Row(test, split, prompt, metric, hits / n if n else 0.0, low, high, n, classes)

"""Wilson's 95 % confidence interval of a share. For everything else there is `bootstrap`."""

from __future__ import annotations

import math

Z95 = 1.959963984540054


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927). Each judgement counts as independent. (0, 1) where n is 0."""
    if not 0 <= hits <= n:
        raise ValueError(f"{hits} hits of {n}")
    return (0.0, 1.0) if n == 0 else score_interval(hits / n, n)


def score_interval(share: float, n: float) -> tuple[float, float]:
    """Wilson's interval for a mean of values in 0 … 1 that is worth n independent judgements. Such values vary no more
    than right and wrong do, so it is never too short."""
    z2 = Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # At the ends rounding would leave 1e-17 where the interval touches 0 or 1.
    return (0.0 if share == 0 else centre - half), (1.0 if share == 1 else centre + half)

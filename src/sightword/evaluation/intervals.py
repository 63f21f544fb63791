"""Confidence intervals."""

from __future__ import annotations

import math

_Z95 = 1.959963984540054


def wilson(hits: float, n: float) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927). Each judgement counts as independent. (0, 1) where n is 0."""
    if not 0 <= hits <= n:
        raise ValueError(f"{hits} hits of {n}")
    if n == 0:
        return 0.0, 1.0
    share, z2 = hits / n, _Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # At the ends rounding would leave 1e-17 where the interval touches 0 or 1.
    return (0.0 if hits == 0 else centre - half), (1.0 if hits == n else centre + half)

"""A number with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Estimate:
    """low, high: the ends of the 95 % interval. None: beyond what was measured (an infinity, which JSON has not)."""

    value: float | None
    low: float | None
    high: float | None


def percentiles(value: float, draws: NDArray[np.float64]) -> Estimate:
    """An estimate with the percentile interval of its bootstrap `draws`, which may be infinite."""
    low, high = np.quantile(draws, (0.025, 0.975), method="inverted_cdf")
    return Estimate(_finite(value), _finite(low), _finite(high))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

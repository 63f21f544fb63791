"""The time of a run, by a clock that never jumps: rates, waiting, the seconds of all sittings."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager


class Clock:
    """Rates since the last look, the seconds of all sittings, and those since the last snapshot."""

    def __init__(self, step: int, batch_size: int, seconds: float) -> None:
        self.before, self.batch_size = seconds, batch_size
        self.begun = self.last = self.saved = time.perf_counter()
        self.last_step, self.waited = step, 0.0

    @contextmanager
    def waiting(self) -> Generator[None, None, None]:
        """Count what the block takes as time spent waiting for data."""
        begun = time.perf_counter()
        yield
        self.waited += time.perf_counter() - begun

    def rates(self, step: int) -> tuple[float, float]:
        """Pictures a second and the share of time spent waiting, since the last look."""
        span = time.perf_counter() - self.last
        rate, waiting = (step - self.last_step) * self.batch_size / span, self.waited / span
        self.restart(step)
        return rate, waiting

    def restart(self, step: int) -> None:
        """Leave what was done between the steps out of the next rate."""
        self.last, self.last_step, self.waited = time.perf_counter(), step, 0.0

    def total(self) -> float:
        return self.before + time.perf_counter() - self.begun

    def snapshot_is_late(self, minutes: float) -> bool:
        """Whether the last one was so many minutes ago; with 0, no."""
        return minutes > 0 and time.perf_counter() - self.saved >= 60 * minutes

    def snapshot(self) -> None:
        self.saved = time.perf_counter()

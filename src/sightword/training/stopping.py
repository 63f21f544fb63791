"""What a machine that is taken away sends first: SIGTERM. The run saves its state, and its exit code says so."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from sightword.errors import StoppedError


class Stop:
    """asked: whether the end was asked for. Between the steps of a run it is looked at; anywhere else the end comes at
    once."""

    def __init__(self) -> None:
        self.asked = False
        self._between_steps = False

    @contextmanager
    def listening(self) -> Generator[None, None, None]:
        """Only the main thread of a process can; in any other one, SIGTERM is what it was."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    @contextmanager
    def at_steps(self) -> Generator[None, None, None]:
        """In the block, an end that is asked for waits until somebody looks."""
        self._between_steps = True
        try:
            yield
        finally:
            self._between_steps = False

    def _handle(self, *_: Any) -> None:
        self.asked = True
        if not self._between_steps:
            raise StoppedError("asked to end (SIGTERM); what was done is saved, and the same command goes on")

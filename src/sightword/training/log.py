"""The log of a run: one JSON object a line, each with an `event`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sightword.errors import SightwordError
from sightword.files import disk_is_full, whole_file


class RunLog:
    """On a resume, what was logged after the snapshot is dropped, because it happens again.

    Nothing of it is lost on a full disk: the lines wait in memory until there is room.

    history: the events that stay. reached: the last step that any sitting logged, those that are dropped included;
    at_reached: the names of its events.
    """

    def __init__(self, path: Path, resume_at: int) -> None:
        self.path = path
        before = list(read_log(path))
        self.reached = max((max(event.get("step", 0), event.get("reached", 0)) for event in before), default=0)
        self.at_reached = frozenset(event["event"] for event in before if event.get("step", 0) == self.reached)
        # A run that goes on was not at its end.
        self.history = [event for event in before if event.get("step", 0) <= resume_at and event["event"] != "end"]
        if before or path.exists():
            with whole_file(path) as temporary:
                temporary.write_text("".join(map(_line, self.history)), encoding="utf-8")
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as failure:
            raise SightwordError(f"{path}: cannot be written to ({failure.strerror})") from None
        self._waiting = b""

    def write(self, event: str, **values: Any) -> None:
        self._waiting += _line({"event": event, **values}).encode()
        try:
            while self._waiting:
                self._waiting = self._waiting[self._file.write(self._waiting) :]
        except OSError as failure:
            if not disk_is_full(failure):
                raise SightwordError(f"{self.path}: cannot be written to ({failure.strerror})") from None

    def sync(self) -> None:
        """Put on the disk what was written: a snapshot that follows has its events before it."""
        with suppress(OSError):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _line(event: dict[str, Any]) -> str:
    return json.dumps(event) + "\n"


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a log; a last line that was cut short by a kill is passed over."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(event, dict) and "event" in event:
            yield event


def run_identity(history: Sequence[dict[str, Any]]) -> str | None:
    """The name that a run's first sitting gave it; None before that."""
    return next((event["run"] for event in history if event["event"] == "start" and "run" in event), None)

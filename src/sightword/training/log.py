"""The log of a run: one JSON object a line, each with an `event`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class RunLog:
    """Events: `start`, `step`, `validation`, `skipped`, `end`. On a resume, what was logged after the snapshot is
    dropped, because it happens again."""

    def __init__(self, path: Path, resume_at: int) -> None:
        kept = [event for event in read_log(path) if resume_at and event.get("step", 0) <= resume_at]
        path.write_text("".join(json.dumps(event) + "\n" for event in kept), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")

    def write(self, event: str, **values: Any) -> None:
        self._file.write(json.dumps({"event": event, **values}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a log; a last line that was cut short by a kill is passed over."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue

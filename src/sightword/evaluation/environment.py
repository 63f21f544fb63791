"""With what results are made: versions of the software, the device, the numbers it computes in.

None of it decides whether results may be used together. That does the method (`records.METHODS`), a number that is
raised when a change of the code moves a figure; versions and devices only move roundings, and are told.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightword.evaluation.records import Record

if TYPE_CHECKING:
    import torch

    from sightword.embedding.base import BaseEmbedder

SOFTWARE = ("sightword", "torch", "numpy")
"""What figures may depend on, to rounding."""


def versions(names: Sequence[str] = SOFTWARE) -> dict[str, str]:
    """Of Python, and of these packages where they are installed. None of them is imported."""
    found = {"python": platform.python_version()}
    for name in names:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def environment(embedder: BaseEmbedder) -> dict[str, Any]:
    """What a record says of its making: `sightword`, `torch`, `numpy`, `python`, `device` (in words), `precision` and
    `date` (UTC, ISO 8601)."""
    return {
        **versions(),
        "device": device_name(getattr(embedder, "device", None)),
        "precision": getattr(embedder, "precision", "fp32"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def remarks(records: Sequence[Record]) -> tuple[str, ...]:
    """What a reader of these results should know of how they were made: other versions than those that are here, more
    than one device or precision, records that this version does not show. Sentences."""
    said: list[str] = []
    stale = [record for record in records if record.stale]
    if stale:
        said.append(
            f"Results of other versions: {_which(stale)} measured in another way than this version does, and not "
            "shown; evaluate again, and they are replaced."
        )
    shown = [record for record in records if not record.stale]
    here = versions()
    for name in SOFTWARE:
        others = [record for record in shown if record.environment.get(name) != here.get(name)]
        if others:
            theirs = sorted({record.environment.get(name, "a version that was not noted") for record in others})
            said.append(
                f"Results of other versions: {_which(others)} made with {name} {' and '.join(theirs)}, and here is "
                f"{here.get(name, 'none')}. They are measured in the same way; figures may differ by rounding."
            )
    for key, words in (("device", "devices"), ("precision", "precisions")):
        found = sorted({str(record.environment[key]) for record in shown if key in record.environment})
        if len(found) > 1:
            said.append(f"Results of several {words}: {'; '.join(found)}. Figures may differ by rounding.")
    return tuple(said)


def _which(records: Sequence[Record]) -> str:
    """How many, and the first of them."""
    first = records[0]
    named = f"{first.task} of {first.model['name']} on {first.data['name']}"
    if len(records) == 1:
        return f"one record ({named}) was"
    return f"{len(records)} records (the first: {named}) were"


def device_name(device: torch.device | None = None) -> str:
    """Of the GPU, or of the processor with its cores."""
    if device is not None and device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {os.cpu_count()} cores"


def _processor() -> str:
    """As Linux calls it; of other systems what Python knows."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or f"{platform.system()} {platform.machine()}"

"""Snapshots: all that a run needs to go on, written whole."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from sightword.errors import CheckpointError
from sightword.files import whole_file

LAST, BEST = "last.pt", "best.pt"


def save_snapshot(folder: Path, name: str, state: dict[str, Any]) -> None:
    """Tensors and plain values only, so that reading it back runs no pickled code."""
    with whole_file(folder / name) as temporary:
        torch.save(state, temporary)


def load_snapshot(folder: Path, name: str) -> dict[str, Any] | None:
    """None where there is none."""
    path = folder / name
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError) as failure:
        reason = str(failure).splitlines()[0]
        raise CheckpointError(f"{path}: not a readable snapshot ({reason}); remove it to start anew") from None

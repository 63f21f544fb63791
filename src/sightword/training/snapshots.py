"""Snapshots: all that a run needs to go on, written whole, one file a step.

`snapshots/step-00000370.pt` is the state after 370 steps; `snapshots/best.pt` the weights that were best on the pairs
held out. Both hold tensors and plain values only, so that reading them runs no pickled code.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sightword.errors import CheckpointError
from sightword.files import whole_file

BEST = "best.pt"
_PREFIX, _SUFFIX, _UNREADABLE = "step-", ".pt", ".unreadable"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A snapshot that could not be read, and why. file: its name now that it is set aside."""

    file: str
    reason: str


class Snapshots:
    """keep: how many are kept beside the best one; the oldest go when a new one is on the disk."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Raises SightwordError, FullDiskError where the disk is full; those that were there then stay."""
        write(self.folder / f"{_PREFIX}{step:08}{_SUFFIX}", {**state, "step": step})
        for old in self._files()[: -self.keep]:
            old.unlink(missing_ok=True)

    def newest(self) -> tuple[dict[str, Any] | None, list[Unreadable]]:
        """The newest one that can be read, and those after it that cannot, which are set aside. None where a run has
        none yet. Raises CheckpointError where there are some, and none of them can be read."""
        damaged: list[tuple[Path, str]] = []
        for path in reversed(self._files()):
            try:
                state = read(path)
                if state.get("step") != _step(path):
                    raise CheckpointError(f"{path}: not a readable snapshot (it is not of the step that its name says)")
            except CheckpointError as failure:
                damaged.append((path, str(failure).removeprefix(f"{path}: ")))
                continue
            return state, [self._set_aside(*one) for one in damaged]
        if damaged:
            raise CheckpointError(
                f"{damaged[0][0]}: {damaged[0][1]}, and no other one is left: remove the run's folder to begin anew"
            )
        return None, []

    def best(self) -> dict[str, Any] | None:
        """`weights`, `step` and `value`; None where nothing was judged yet."""
        return read(self.folder / BEST) if (self.folder / BEST).exists() else None

    def save_best(self, state: Mapping[str, Any]) -> None:
        write(self.folder / BEST, state)

    def _set_aside(self, path: Path, reason: str) -> Unreadable:
        return Unreadable(path.replace(path.with_name(path.name + _UNREADABLE)).name, reason)

    def _files(self) -> list[Path]:
        """Oldest first."""
        return sorted(
            (path for path in self.folder.glob(f"{_PREFIX}*{_SUFFIX}") if _step(path) is not None),
            key=lambda path: _step(path) or 0,
        )


def _step(path: Path) -> int | None:
    number = path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
    return int(number) if number.isascii() and number.isdigit() else None


def write(path: Path, state: Mapping[str, Any]) -> None:
    with whole_file(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(dict(state), file)
        except RuntimeError as failure:
            # What torch makes of a write that failed; the system's own word says whether the disk is full.
            raise (failure.__context__ if isinstance(failure.__context__, OSError) else failure) from None


def read(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, KeyError, ValueError) as failure:
        reason = (str(failure) or type(failure).__name__).splitlines()[0]
        raise CheckpointError(f"{path}: not a readable snapshot ({reason})") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: not a readable snapshot (it holds a {type(state).__name__})")
    return state

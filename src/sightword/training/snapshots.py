"""Snapshots: all that a run needs to go on, written whole, one file a step.

`snapshots/step-00000370.pt` is the state after 370 steps; `snapshots/best.pt` the weights that were best on the pairs
held out. Both hold tensors and plain values only, so that reading them runs no pickled code.

Where the ranks share the model, the state is a folder, `snapshots/step-00000370/`, into which each rank writes its rows
(`rank-0-of-2.pt`, …), the first one also all that is no shard (`state.pt`), and which appears when all have. Rows that
lie one after the other in the order of the ranks need no plan to be read by another number of them. (DCP,
torch.distributed.checkpoint, keeps its plan as a pickle, and runs what it holds when it reads it.)
"""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from sightword.errors import CheckpointError, RequestError, SightwordError
from sightword.files import whole_file, whole_folder
from sightword.training.ranks import ALONE, World
from sightword.training.shards import put_together, taken_apart

T = TypeVar("T")
BEST = "best.pt"
_PREFIX, _SUFFIX, _UNREADABLE = "step-", ".pt", ".unreadable"
_STATE = "state.pt"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A snapshot that could not be read, and why. file: its name now that it is set aside."""

    file: str
    reason: str


class Snapshots:
    """keep: how many are kept beside the best one; the oldest go when a new one is on the disk."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def save(self, step: int, state: Mapping[str, Any], world: World = ALONE) -> None:
        """world: the ranks that all call this, as each holds a part. Raises SightwordError, FullDiskError where the
        disk is full (on all ranks); those that were there then stay."""
        path = self.folder / f"{_PREFIX}{step:08}"
        if world.size == 1:
            write(path.with_name(path.name + _SUFFIX), {**state, "step": step})
        else:
            _write_parts(path, {**state, "step": step}, world)
        if world.first:
            for old in self._files()[: -self.keep]:
                _remove(old)

    def newest(self, world: World = ALONE) -> tuple[dict[str, Any] | None, list[Unreadable]]:
        """The newest one that can be read, and those after it that cannot, which are set aside. None where a run has
        none yet. A tensor that several ranks wrote is a `Parts`. Raises CheckpointError where there are some, and none
        of them can be read; RequestError where not all ranks of `world` see them."""
        found: dict[str, Any] | None = None

        def look() -> tuple[Path | None, list[Unreadable]]:
            nonlocal found
            path, found, unreadable = self._newest()
            return path, unreadable

        path, unreadable = world.at_first(look)
        if path is not None and found is None:
            if not path.exists():
                raise RequestError(f"{path}: not all ranks find it there: the run must be on a disk that all can read")
            found = _read_step(path)
        return found, unreadable

    def _newest(self) -> tuple[Path | None, dict[str, Any] | None, list[Unreadable]]:
        damaged: list[tuple[Path, str]] = []
        for path in reversed(self._files()):
            try:
                state = _read_step(path)
            except CheckpointError as failure:
                damaged.append((path, str(failure).removeprefix(f"{path}: ")))
                continue
            return path, state, [self._set_aside(*one) for one in damaged]
        if damaged:
            raise CheckpointError(
                f"{damaged[0][0]}: {damaged[0][1]}, and no other one is left: remove the run's folder to begin anew"
            )
        return None, None, []

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
            (path for path in self.folder.glob(f"{_PREFIX}*") if _step(path) is not None),
            key=lambda path: _step(path) or 0,
        )


def _step(path: Path) -> int | None:
    number = path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
    return int(number) if number.isascii() and number.isdigit() else None


def _read_step(path: Path) -> dict[str, Any]:
    state = _read_parts(path) if path.is_dir() else read(path)
    if state.get("step") != _step(path):
        raise CheckpointError(f"{path}: not a readable snapshot (it is not of the step that its name says)")
    return state


def _write_parts(path: Path, state: Mapping[str, Any], world: World) -> None:
    rest, shards = taken_apart(state)

    def write_mine(place: Path) -> None:
        write(place / _part(world.rank, world.size), {"shards": shards})
        if world.first:
            write(place / _STATE, rest)

    # What fails for one of them, all raise: so they end, or go on, together.
    with ExitStack() as opened:
        place = _told(world.at_first(lambda: [_tried(lambda: opened.enter_context(whole_folder(path)))]))
        _told(world.join([_tried(lambda: write_mine(place))]))
        _told(world.at_first(lambda: [_tried(opened.close)]))


def _tried(work: Callable[[], T]) -> T | SightwordError:
    try:
        return work()
    except SightwordError as failure:
        return failure


def _told(outcomes: Sequence[T | SightwordError]) -> T:
    """The first outcome. Raises the failure of any."""
    for outcome in outcomes:
        if isinstance(outcome, SightwordError):
            raise outcome
    return outcomes[0]  # type: ignore[return-value]


def _read_parts(path: Path) -> dict[str, Any]:
    """The shards are mapped from the disk: a rank reads the rows that it asks for."""
    found = {file.name for file in path.glob(_part("*", "*"))}
    names = [_part(rank, len(found)) for rank in range(len(found))]
    if not found or found != set(names):
        raise CheckpointError(f"{path}: not a readable snapshot (it has not the parts of all ranks)")
    parts = [read(path / name, mapped=True) for name in names]
    try:
        return put_together(read(path / _STATE), [part["shards"] for part in parts])
    except (KeyError, TypeError) as failure:
        raise CheckpointError(f"{path}: not a readable snapshot (its parts do not fit: {failure})") from None


def _part(rank: int | str, ranks: int | str) -> str:
    return f"rank-{rank}-of-{ranks}{_SUFFIX}"


def _remove(path: Path) -> None:
    if path.is_dir():
        # What a kill leaves of it then counts as remains, and not as a snapshot.
        shutil.rmtree(path.replace(path.with_name(f".{path.name}.old")), ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write(path: Path, state: Mapping[str, Any]) -> None:
    with whole_file(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(dict(state), file)
        except RuntimeError as failure:
            # What torch makes of a write that failed; the system's own word says whether the disk is full.
            raise (failure.__context__ if isinstance(failure.__context__, OSError) else failure) from None


def read(path: Path, mapped: bool = False) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, KeyError, ValueError) as failure:
        reason = (str(failure) or type(failure).__name__).splitlines()[0]
        raise CheckpointError(f"{path}: not a readable snapshot ({reason})") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: not a readable snapshot (it holds a {type(state).__name__})")
    return state

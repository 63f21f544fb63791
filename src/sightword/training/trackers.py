"""Where the numbers of a run's log go as well: TensorBoard, Weights & Biases, trackio.

The log is always written, and is what a run goes on from; a tracker is a view of it. The steps that a run repeats after
a kill have the same numbers and the same values: TensorBoard is told from which step on to forget what it has, and the
others are not sent again what they have.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from sightword.errors import RequestError, SightwordWarning
from sightword.training.log import RunLog

FOLDER = "trackers"  # in the run's folder
_PROJECT = "sightword"


@dataclass(frozen=True, slots=True)
class Sitting:
    """Of a run: its folder, its name everywhere, its recipe, the step that it goes on from; the last step that an
    earlier sitting logged, and which events of it."""

    out: Path
    name: str
    recipe: Mapping[str, Any]
    start: int
    reached: int
    sent: frozenset[str]

    def has_sent(self, event: str, step: int) -> bool:
        return step < self.reached or (step == self.reached and event in self.sent)


class Tracker(Protocol):
    """forgets: whether it was told to forget what comes again."""

    forgets: bool

    def send(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in `trackers/tensorboard`."""

    forgets = True

    def __init__(self, sitting: Sitting) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # What is after the snapshot comes again.
        purge = sitting.start + 1 if sitting.reached else None
        self._writer = SummaryWriter(str(sitting.out / FOLDER / "tensorboard"), purge_step=purge)

    def send(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """The project is `WANDB_PROJECT`, or else `sightword`; WANDB_MODE=offline keeps all in `trackers`."""

    forgets = False

    def __init__(self, sitting: Sitting) -> None:
        import wandb

        (sitting.out / FOLDER).mkdir(exist_ok=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=sitting.name,
            id=sitting.name,
            dir=str(sitting.out / FOLDER),
            config=dict(sitting.recipe),
            resume="allow",
            settings=wandb.Settings(console="off"),
        )

    def send(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class Trackio:
    """The project is `TRACKIO_PROJECT`, or else `sightword`; where it is kept, trackio's own settings say."""

    forgets = False

    def __init__(self, sitting: Sitting) -> None:
        import trackio

        self._trackio = trackio
        trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", _PROJECT),
            name=sitting.name,
            config=dict(sitting.recipe),
            resume="allow",
        )

    def send(self, step: int, values: Mapping[str, float]) -> None:
        self._trackio.log(dict(values), step=step)

    def close(self) -> None:
        self._trackio.finish()


_KINDS: dict[str, type[TensorBoard | WeightsAndBiases | Trackio]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "trackio": Trackio,
}


def check_trackers(names: Sequence[str]) -> None:
    """Raise RequestError where a package is missing: better before the data is read than after it."""
    for name in names:
        if find_spec(name) is None:
            raise RequestError(
                f"training.trackers: {name} is not installed: pip install 'sightword[{name}]', or take it out of "
                "training.trackers"
            )


class Trackers:
    """Those of a run. One that fails is named in the log and left alone from then on; the run goes on."""

    def __init__(self, names: Sequence[str], sitting: Sitting, log: RunLog) -> None:
        self._sitting, self._log = sitting, log
        self._step = sitting.start
        self._open: dict[str, Tracker] = {}
        for name in names:
            try:
                self._open[name] = _KINDS[name](sitting)
            except Exception as failure:  # whatever a package makes of its settings, its disk or the network
                if not sitting.reached:
                    raise RequestError(
                        f"training.trackers: {name} could not be started ({_first_line(failure)}); take it out of "
                        "training.trackers to train without it"
                    ) from None
                self._give_up(name, failure)

    def send(self, event: str, step: int, values: Mapping[str, Any]) -> None:
        """The numbers among `values`, as `event/name`; of a row of evidence its value, as `event/metric`."""
        self._step = step
        numbers = {f"{event}/{name}": value for name, value in values.items() if isinstance(value, int | float)}
        if "row" in values:
            numbers[f"{event}/{values['row'].get('metric', 'value')}"] = float(values["row"]["value"])
            kept = values["row"].get("retention", {})
            numbers |= {f"{event}/retention_{key}": float(kept[key]) for key in ("value", "loss") if key in kept}
        again = self._sitting.has_sent(event, step)
        for name, tracker in list(self._open.items()):
            if again and not tracker.forgets:
                continue
            try:
                tracker.send(step, numbers)
            except Exception as failure:
                del self._open[name]
                self._give_up(name, failure)

    def close(self) -> None:
        for name, tracker in self._open.items():
            try:
                tracker.close()
            except Exception as failure:
                self._give_up(name, failure)
        self._open = {}

    def _give_up(self, name: str, failure: Exception) -> None:
        reason = _first_line(failure)
        self._log.write("tracker_failed", step=self._step, tracker=name, reason=reason)
        warnings.warn(f"{name} failed ({reason}); the run goes on without it", SightwordWarning, stacklevel=3)


def _first_line(failure: Exception) -> str:
    lines = str(failure).strip().splitlines()
    return lines[0] if lines else type(failure).__name__

"""Models on suites of data sets: what is there is opened, embedded and judged, a record for each as soon as it is made.

A record that is in the folder of results already is not made again, so that a suite goes on where it was stopped.

Of several ranks (`training.ranks`) each opens the data sets, and embeds its share of their pictures; the first judges
and writes, while the others wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from sightword import __version__
from sightword.data.choices import Choices
from sightword.data.composed import Composed
from sightword.data.denials import Denials
from sightword.data.labelled import Captioned
from sightword.data.masked import Masked
from sightword.data.pairs import Skipped
from sightword.data.readers import Data
from sightword.embedding.base import BaseEmbedder
from sightword.errors import RequestError, SightwordError
from sightword.evaluation.classification import Outcome
from sightword.evaluation.environment import environment, remarks
from sightword.evaluation.features import split_features
from sightword.evaluation.kinds import Work
from sightword.evaluation.records import Record, Results, method_of, record_name
from sightword.evaluation.suites import Missing, Wanted, locate, open_split
from sightword.evaluation.tasks import TASKS, Task, usual_task
from sightword.training.ranks import ALONE, World

# How many pictures of what is being done are done, and of how many.
Progress = Callable[[int, int], None]
T = TypeVar("T")
UNREADABLE = 0.05  # the largest share of a test's pictures that may be unreadable


@dataclass(frozen=True)
class Subject:
    """A model under test, by the name that tables call it."""

    name: str
    embedder: BaseEmbedder
    parameters: int

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "fingerprint": self.embedder.fingerprint,
            "parameters": self.parameters,
            "seen": self._seen(),
        }

    def _seen(self) -> int | None:
        """Pictures of the run that made it, each as often as it was shown. None of models that do not say it."""
        said = self.embedder.contract.provenance
        try:
            return int(said["training"]["weights_of_step"]) * int(said["recipe"]["training"]["batch_size"])
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True)
class Evaluation:
    """records: of every model on every data set that was there; of several ranks, the first alone has them. missing:
    what was asked for and not measured. reused: how many of the records were there before. remarks: of other versions
    and several devices, in sentences."""

    records: tuple[Record, ...]
    missing: tuple[Missing, ...]
    reused: int
    remarks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "results": [
                {"model": record.model["name"], "task": record.task, **row.to_json()}
                for record in self.records
                for row in record.rows
            ],
            "missing": [{"data": one.spec.name, "reason": one.reason, "get": one.get} for one in self.missing],
            "remarks": list(self.remarks),
            "version": __version__,
        }


def kept(results: Results) -> Evaluation:
    """What is in a folder of results, without what was measured in another way than this version does. Raises
    RequestError where that is nothing."""
    found = results.all()
    said = remarks(found)
    shown = tuple(record for record in found if not record.stale)
    if not shown:
        raise RequestError(f"{results.folder}: {' '.join(said)}")
    return Evaluation(shown, (), len(shown), said)


def evaluate(
    subjects: Sequence[Subject],
    wanted: Sequence[Wanted],
    results: Results,
    tasks: Sequence[Task] = (),
    seed: int = 0,
    progress: Progress | None = None,
    also: Sequence[Task] = (),
    world: World = ALONE,
) -> Evaluation:
    """tasks: each data set's own without one. also: beside them, where a data set is for it. A data set that lacks what
    a task needs (training pictures, say) is named in `missing`, and the rest goes on.

    Raises RequestError where nothing at all can be measured; SightwordError where too many pictures of a data set
    cannot be read, or where the ranks do not see the same.
    """
    found = [(one, locate(one.spec, one.root)) for one in wanted]
    missing = [place for _, place in found if isinstance(place, Missing)]
    there = [one for one, place in found if not isinstance(place, Missing)]
    if not there:
        raise RequestError("none of the data sets is there:\n" + "\n".join(f"  {one}" for one in missing))
    records: list[Record] = []
    measured = reused = 0
    for one in there:
        asked = dict.fromkeys((*(tasks or (usual_task(one.spec),)), *also))
        kinds = [task for task in asked if TASKS[task].fits(one.spec)]
        if not kinds:
            continue
        data = open_split(one.spec, one.root, "test")
        content = data.fingerprint()
        for task in kinds:
            try:
                for subject in subjects:
                    settings = TASKS[task].settings(one.spec, one.root, data, seed)
                    settings |= TASKS[task].way(subject.embedder)
                    settings["decode"] = getattr(subject.embedder, "decode", "")
                    name = record_name(subject.embedder.fingerprint, content, task, settings)
                    _check_alike(world, subject, name, f"{subject.name} on {data}")
                    record = results.find(name) if world.first else None
                    if world.at_first(lambda record=record: record is not None and not record.stale):  # type: ignore[misc]
                        reused += 1
                    else:
                        record = _made(subject, one, data, content, task, settings, results, progress, world)
                    measured += 1
                    records += [record] if record else []
            except RequestError as refused:
                missing.append(Missing(one.spec, f"{task}: {refused}", ""))
    if not measured:
        why = "".join(f"\n  {one}" for one in missing)
        raise RequestError(f"none of the data sets that are there is for {', '.join(tasks) or 'anything'}{why}")
    world.at_first(lambda: str(results.write_table()))
    return Evaluation(tuple(records), tuple(missing), reused, remarks(records))


def _made(
    subject: Subject,
    wanted: Wanted,
    data: Data,
    content: str,
    task: Task,
    settings: dict[str, Any],
    results: Results,
    progress: Progress | None,
    world: World,
) -> Record | None:
    """On the disk, and on the first rank."""
    begun = time.perf_counter()

    def told(of: int) -> Callable[[int], None]:
        return lambda done: progress(done, of) if progress else None

    skipped: Sequence[Skipped] = ()
    vectors = np.zeros((0, subject.embedder.dim), np.float32)
    if not isinstance(data, Masked):
        features = split_features(subject.embedder, data, told(len(data)), world)
        skipped, vectors = features.skipped, features.vectors
        _check_readable(data, skipped)
        data = data.take(features.rows) if skipped else data
    work = Work(subject.embedder, wanted.spec, wanted.root, data, vectors, settings, told, world)
    work = replace(work, further=TASKS[task].further(work))

    def judged() -> Record:
        outcome = TASKS[task].run(work)
        _check_readable(data, outcome.skipped)
        record = _record(subject, wanted, data, content, task, settings, (*skipped, *outcome.skipped), outcome, begun)
        results.save(record)
        return record

    return _on_first(world, judged)


def _record(
    subject: Subject,
    wanted: Wanted,
    data: Data,
    content: str,
    task: Task,
    settings: dict[str, Any],
    skipped: Sequence[Skipped],
    outcome: Outcome,
    begun: float,
) -> Record:
    classes = () if isinstance(data, Captioned | Choices | Composed | Denials) else data.classes
    return Record(
        model=subject.to_json(),
        data={
            "name": data.name,
            "title": wanted.spec.title,
            "split": data.split,
            "count": len(data) - len(outcome.skipped),
            "classes": len(classes),
            "names": list(classes),
            "fingerprint": content,
            "unreadable": [{"key": skip.key, "reason": skip.reason} for skip in skipped],
            "remarks": list(wanted.spec.remarks(data)),
            "licence": wanted.spec.licence,
            "source": wanted.spec.source,
        },
        task=task,
        settings=settings,
        rows=outcome.rows,
        details={**outcome.details, "galleries": {name: one.to_json() for name, one in outcome.galleries.items()}},
        outcomes=outcome.outcomes,
        seconds=time.perf_counter() - begun,
        environment=environment(subject.embedder),
        method=method_of(task),
    )


def _on_first(world: World, work: Callable[[], T]) -> T | None:
    """What `work` gives on the first rank; None on the others, which wait. A RequestError of it is raised on all."""
    made: list[T] = []

    def tried() -> str:
        try:
            made.append(work())
        except RequestError as refused:
            return str(refused)
        return ""

    refused = world.at_first(tried)
    if refused:
        raise RequestError(refused)
    return made[0] if made else None


def _check_alike(world: World, subject: Subject, name: str, what: str) -> None:
    """name: of a record, which depends on the model's weights and all bytes of the pictures."""
    seen = world.join([(name, getattr(subject.embedder, "precision", ""))])
    others = [str(rank) for rank, one in enumerate(seen) if one != seen[0]]
    if others:
        raise SightwordError(
            f"{what}: rank {', '.join(others)} has another model, other pictures or another precision than rank 0: all "
            "must read the same files, and --precision auto may choose differently"
        )


def _check_readable(data: Data, skipped: Sequence[Skipped]) -> None:
    if len(skipped) > UNREADABLE * len(data):
        first = skipped[0]
        raise SightwordError(
            f"{data}: {len(skipped):,} of {len(data):,} pictures cannot be read, and no more than "
            f"{UNREADABLE:.0%} of a test may be missing; the first is {first.key}: {first.reason}"
        )

"""`embed` on many machines: units of work as a Ray Data set, mapped by actors that load the model once."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from sightword.embedding import Precision
from sightword.embedding.worker import Job, Tick, Worker, load_worker
from sightword.errors import RequestError, SightwordError


@dataclass(frozen=True, slots=True)
class Cluster:
    """workers: actors, each with `cpus` and, where there are GPUs, one of these."""

    workers: int
    cpus: int
    device: str

    @property
    def precision(self) -> Precision:
        """`auto`: not measured here, where the GPUs are not."""
        return "bf16" if self.device == "cuda" else "fp32"


@contextmanager
def ray_cluster(address: str, workers: int | None = None) -> Generator[Cluster, None, None]:
    """A cluster by its address, `auto` for the one that this machine belongs to, `local` for one that is made of it.

    workers: otherwise one a GPU, or one a machine where there is none.
    """
    try:
        import ray
        import ray.data
    except ImportError:
        raise RequestError("many machines need Ray: pip install 'sightword[ray]'") from None
    mine = not ray.is_initialized()
    if mine:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as failure:  # Ray raises what it likes here, down to a bare Exception
            reason = str(failure).strip().splitlines()[0]
            raise RequestError(f"no Ray cluster at {address!r} ({reason})") from None
    try:
        yield share([node["Resources"] for node in ray.nodes() if node["Alive"]], workers)
    except ray.exceptions.RayError as failure:
        raise SightwordError(f"Ray: {str(failure).strip().splitlines()[-1]}") from None
    finally:
        if mine:
            ray.shutdown()


def share(machines: Sequence[dict[str, float]], workers: int | None) -> Cluster:
    """As many CPUs a worker as all of them can have at once. machines: what each has, as Ray counts it. Raises
    RequestError where there are more workers than places for them."""
    cpus = [int(machine.get("CPU", 0)) for machine in machines]
    gpus = [int(machine.get("GPU", 0)) for machine in machines]
    count = workers or sum(gpus) or sum(number > 0 for number in cpus)
    for each in range(max(cpus, default=0), 0, -1):
        places = (min(cpu // each, gpu) if any(gpus) else cpu // each for cpu, gpu in zip(cpus, gpus, strict=True))
        if sum(places) >= count:
            return Cluster(count, each, "cuda" if any(gpus) else "cpu")
    raise RequestError(f"the Ray cluster has {sum(cpus)} CPUs and {sum(gpus)} GPUs: too few for {count} workers")


def embed_on_cluster(job: Job, cluster: Cluster, units: Sequence[int], sizes: Sequence[int], tick: Tick) -> None:
    """What a lost machine was at is done again by another. The sources, the model and the folder of the job must be on
    storage that all machines see."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    results = ray.data.from_items([{"unit": unit} for unit in units], override_num_blocks=len(units)).map_batches(
        _Actor,
        fn_constructor_args=(job, cluster.device, cluster.cpus),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(cluster.workers, len(units))),
        num_cpus=cluster.cpus,
        num_gpus=int(cluster.device == "cuda"),
    )
    for row in results.iter_rows():
        if row["failure"]:
            raise SightwordError(row["failure"])
        tick(sizes[row["unit"]])


class _Actor:
    """What a person can act on comes back as a value: Ray would wrap an error into pages of its own."""

    def __init__(self, job: Job, device: str, threads: int) -> None:
        self.begin = job, device, threads
        self.worker: Worker | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        failure = ""
        try:
            self.worker = self.worker or load_worker(*self.begin)
            for unit in batch["unit"]:
                self.worker.embed(int(unit), lambda images: None)
        except SightwordError as error:
            failure = str(error)
        return {"unit": batch["unit"], "failure": np.array([failure] * len(batch["unit"]))}

"""`embed` on several devices of one machine: a process each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from sightword.embedding.worker import Job, Tick, Worker, load_worker
from sightword.errors import SightwordError


def find_devices(device: str | Sequence[str]) -> list[str]:
    """`auto` and `cuda` mean every GPU of this machine."""
    if not isinstance(device, str):
        return list(device)
    if device in ("auto", "cuda") and torch.cuda.is_available() and torch.cuda.device_count() > 1:
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [device]


def embed_in_processes(job: Job, devices: Sequence[str], units: Iterable[int], tick: Tick) -> None:
    context = multiprocessing.get_context("spawn")  # a forked process could use no GPU
    shared = _Shared(context.Value("q", 0), context.Value("q", 0), context.Event())
    threads = max(1, torch.get_num_threads() // len(devices))
    todo, told = iter(units), 0
    with ProcessPoolExecutor(len(devices), context, _begin, (job, devices, threads, shared)) as pool:
        try:
            waiting = {pool.submit(_embed, unit) for unit in islice(todo, 2 * len(devices))}
            while waiting:
                finished, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
                waiting |= {pool.submit(_embed, unit) for unit in islice(todo, len(finished))}
                tick(shared.done.value - told)
                told = shared.done.value
        except BrokenProcessPool:
            raise SightwordError(
                "a worker was ended from outside (out of memory?). Finished parts are kept: the same command goes on"
            ) from None
        finally:
            # After an interrupt too: the workers stop after the batch they are at.
            shared.stop.set()
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Shared:
    """done: images, by all workers. begun: workers, each of which takes the next device."""

    done: Any
    begun: Any
    stop: Any


class _StoppedError(Exception):
    """The main process wants no more."""


# Of a worker process.
_mine: tuple[Job, str, int, _Shared]
_worker: Worker | None = None


def _begin(job: Job, devices: Sequence[str], threads: int, shared: _Shared) -> None:
    global _mine
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the main process's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with shared.begun.get_lock():
        _mine = job, devices[shared.begun.value], threads, shared
        shared.begun.value += 1


def _end_with_parent() -> None:
    """A main process that was killed tells nobody: its workers would wait for work and hold their devices for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _embed(unit: int) -> None:
    global _worker
    job, device, threads, shared = _mine

    def tick(images: int) -> None:
        if shared.stop.is_set():
            raise _StoppedError
        with shared.done.get_lock():
            shared.done.value += images

    tick(0)
    if _worker is None:  # here and not in _begin, whose errors would reach nobody
        _worker = load_worker(job, device, threads)
    _worker.embed(unit, tick)

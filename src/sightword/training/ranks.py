"""Several processes that train or evaluate one model: the ranks that `torchrun` starts, or this process alone.

In training each rank takes its rows of every batch. Gradients are averaged (DistributedDataParallel, or `shards`), the
losses see the batch whole, and the first rank alone writes, where not each holds a part of a snapshot. A rank that
ends, or gives no sign of life, is named by the others, which end too.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from sightword.data.order import share_of
from sightword.errors import RequestError, SightwordError
from sightword.training.watch import Watch

T = TypeVar("T")
# A rank that is alive and does not come is waited for so long: reading may stall, a picture may take its time.
_PATIENCE = timedelta(hours=1)
_MEETING = timedelta(minutes=5)


@dataclass(frozen=True)
class World:
    """rank, size: which process of how many. group: None where there is only one."""

    rank: int = 0
    size: int = 1
    group: dist.ProcessGroup | None = None
    watch: Watch | None = None

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """The rows of `count` that are this rank's: contiguous, in the order of the ranks, of sizes that differ by one
        at most."""
        return share_of(count, self.rank, self.size)

    def total(self, *numbers: int) -> tuple[int, ...]:
        """Each number, summed over the ranks; called once a step."""
        if self.group is None:
            return numbers
        if self.watch:
            self.watch.steps += 1
        sums = torch.tensor(numbers)
        dist.all_reduce(sums, group=self.group)
        return tuple(sums.tolist())

    def join(self, rows: Sequence[T]) -> list[T]:
        """The rows of all ranks, in their order."""
        if self.group is None:
            return list(rows)
        parts: list[Any] = [None] * self.size
        dist.all_gather_object(parts, list(rows), group=self.group)
        return [row for part in parts for row in part]

    def to_first(self, part: T) -> list[T]:
        """What each rank has, in their order, on the first rank; nothing on the others. May be large."""
        if self.watch is None:
            return [part]
        self.watch.meet()
        parts: list[Any] | None = [None] * self.size if self.first else None
        dist.gather_object(part, parts, dst=0, group=self.group)
        return parts or []

    def at_first(self, work: Callable[[], T]) -> T:
        """Do `work` on the first rank, while the others wait for what it gives (plain values). It may take its time."""
        if self.watch is None:
            return work()
        result = [work()] if self.first else [None]
        self.watch.meet()
        dist.broadcast_object_list(result, src=0, group=self.group)
        return result[0]  # type: ignore[return-value]

    def share(self, module: nn.Module) -> nn.Module:
        """The module with its gradients averaged over the ranks, and with the weights of the first."""
        if self.group is None:
            return module
        with warnings.catch_warnings():
            # Its new name is not known to every torch that this runs on.
            warnings.filterwarnings("ignore", message=".*broadcast_buffers.*", category=FutureWarning)
            return DistributedDataParallel(
                module, process_group=self.group, broadcast_buffers=False, gradient_as_bucket_view=True
            )

    def unshared(self, shared: nn.Module) -> Callable[[], AbstractContextManager[None]]:
        """A context in which gradients are only added up, and not yet averaged."""
        return shared.no_sync if isinstance(shared, DistributedDataParallel) else nullcontext


ALONE = World()


@contextmanager
def join_world(device: torch.device) -> Generator[World, None, None]:
    """The ranks that torchrun started, once all have come, with a device each.

    Raises SightwordError with the number of a rank that ended while the block ran.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    watch = _meet()
    if device.type == "cuda":
        torch.cuda.set_device(device)  # where FSDP puts its shards
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            store=PrefixStore("group", watch.store),
            rank=watch.rank,
            world_size=watch.size,
            timeout=_PATIENCE,
        )
        yield World(watch.rank, watch.size, dist.group.WORLD, watch)
        watch.meet()
    except BaseException as failure:
        found = watch.explain(failure)
        if found is failure:
            raise
        raise found from None
    dist.destroy_process_group()
    watch.leave()


def _meet() -> Watch:
    try:
        store, rank, size = next(iter(rendezvous("env://", timeout=_MEETING)))
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        second = dist.TCPStore(host, port, is_master=False, timeout=_MEETING)  # type: ignore[attr-defined]
    except (RuntimeError, ValueError, KeyError) as failure:
        reason = str(failure).strip().splitlines()[0]
        raise SightwordError(f"the ranks did not meet ({reason}); start them with torchrun") from None
    return Watch(store, second, rank, size)


def rank_device(device: str) -> str:
    """The GPU of this rank, where every rank of the machine has one."""
    local = os.environ.get("LOCAL_RANK")
    if local is None or os.environ.get("WORLD_SIZE", "1") == "1" or device == "cpu":
        return device
    if not torch.cuda.is_available() and device == "auto":
        return "cpu"
    if device not in ("auto", "cuda"):
        raise RequestError(f"--device {device}: with several ranks write cuda (a GPU each), cpu or auto")
    if int(local) >= torch.cuda.device_count():
        raise RequestError(
            f"rank {local} of this machine has no GPU of its own ({torch.cuda.device_count()} are there): start as "
            "many ranks as GPUs (torchrun --nproc_per_node), or write --device cpu"
        )
    return f"cuda:{local}"

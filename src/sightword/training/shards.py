"""One model spread over the ranks: FSDP2 (`fully_shard`; ZeRO's third stage, arXiv 1910.02054; arXiv 2304.11277).

Each rank holds some rows of every weight, of its gradient, of the optimizer's state and of the average. A block is
gathered when it is computed and let go after that; what of a tower is in no block (embeddings, head) is gathered for
the whole of its forward and backward. Scale and bias of the logits, a number each, are whole on every rank.

What holds shards is a DTensor, and everything else a plain tensor: so the functions here do for both, and on one rank
they do nothing. Rows are dealt as FSDP2 deals them: ceil(rows / ranks) to each, the last ones get fewer or none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sightword.towers.recompute import blocks
from sightword.training.encoders import Encoders

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_shard(tensor: object) -> TypeGuard[DTensor]:
    """Whether the ranks share it. What they need for that takes most of a second to import, and only `shard` does."""
    loaded = sys.modules.get("torch.distributed.tensor")
    return loaded is not None and isinstance(tensor, loaded.DTensor)


@dataclass(frozen=True)
class Parts:
    """A tensor whose rows came from several ranks, in their order; on the disk until some are asked for."""

    parts: Sequence[Tensor]

    @property
    def shape(self) -> torch.Size:
        return torch.Size([sum(len(part) for part in self.parts), *self.parts[0].shape[1:]])

    def rows(self, first: int, end: int) -> Tensor:
        found, place = [], 0
        for part in self.parts:
            found.append(part[max(0, first - place) : max(0, end - place)])
            place += len(part)
        return torch.cat(found)


Saved: TypeAlias = Tensor | Parts


def units(encoders: Encoders) -> Iterator[tuple[nn.Module, list[nn.Module]]]:
    """What is gathered at once: of each tower the rest of it, and its blocks.

    Where the text encoder is locked and its features are kept, it stays whole on every rank: which of its texts are new
    differs from rank to rank, and gathering needs all of them.
    """
    model = encoders.model
    for tower in (model.image, model.text):
        if encoders.kept is not None and tower is encoders.kept.tower:
            yield encoders.kept.tower.projection, []
        else:
            # A list of modules is no module that is computed: it belongs to the rest.
            yield tower, [block for block in blocks(tower) if not isinstance(block, nn.ModuleList)]


def shard(encoders: Encoders, group: dist.ProcessGroup | None, device: torch.device) -> Encoders:
    """The same module, of which each rank of the group now holds its rows. All hold the same weights before."""
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import fully_shard

    assert group is not None
    mesh = DeviceMesh.from_group(group, device.type)
    for rest, inner in units(encoders):
        for module in (*inner, rest):
            fully_shard(module, mesh=mesh)
    return encoders


def average_whole(parameters: Sequence[Tensor], group: dist.ProcessGroup | None) -> None:
    """FSDP averages the gradients of shards over the ranks. This averages those of the parameters that are whole."""
    for parameter in parameters:
        if parameter.grad is not None and not is_shard(parameter):
            dist.all_reduce(parameter.grad, group=group)
            parameter.grad /= dist.get_world_size(group)


def own(tensor: Tensor) -> Tensor:
    """The rows of this rank, in the memory of `tensor`."""
    return tensor.to_local() if is_shard(tensor) else tensor


def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Of all elements together, on all ranks."""
    shards = [tensor for tensor in tensors if is_shard(tensor)]
    whole = nn.utils.get_total_norm([tensor for tensor in tensors if not is_shard(tensor)])
    if not shards:
        return whole
    square = nn.utils.get_total_norm([tensor.to_local() for tensor in shards]).square()
    dist.all_reduce(square, group=shards[0].device_mesh.get_group())
    return (square + whole.to(square.device).square()).sqrt()


def gathered(state: Mapping[str, Tensor], first: bool) -> dict[str, Tensor]:
    """The state with whole tensors, of which the gathered ones are on the CPU; on other ranks than the first it is
    empty. All ranks call it."""
    found = {}
    for name, tensor in state.items():
        if is_shard(tensor):
            whole = tensor.full_tensor()  # one at a time: no more of it is ever on a device
            tensor = whole.cpu() if first else whole
        if first:
            found[name] = tensor
    return found


def whole(saved: Saved) -> Tensor:
    return saved.rows(0, saved.shape[0]) if isinstance(saved, Parts) else saved


def fitted(saved: Saved, like: Tensor) -> Tensor:
    """What was saved of `like`, or beside it: as shards, where that is. A number (of steps) stays one."""
    if not is_shard(like) or saved.shape != like.shape:
        return whole(saved)
    from torch.distributed.tensor import DTensor

    mesh, rows = like.device_mesh, like.shape[0]
    share = -(-rows // mesh.size())
    first, end = (min(rows, share * rank) for rank in (mesh.get_local_rank(), mesh.get_local_rank() + 1))
    part = saved.rows(first, end) if isinstance(saved, Parts) else saved[first:end].clone()
    local = part.to(like.device)
    return DTensor.from_local(local, mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride())


def fitted_optimizer(saved: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """A `state_dict` of the optimizer, saved by whatever number of ranks, for this one."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states = {
        number: {name: fitted(value, parameters[number]) for name, value in state.items()}
        for number, state in saved["state"].items()
    }
    return {**saved, "state": states}


def taken_apart(state: Mapping[Any, Any]) -> tuple[dict[Any, Any], dict[tuple[Any, ...], Tensor]]:
    """A tree of dicts without its shards, and this rank's rows of these by their place in it."""
    rest: dict[Any, Any] = {}
    shards: dict[tuple[Any, ...], Tensor] = {}
    for key, value in state.items():
        if is_shard(value):
            shards[(key,)] = value.to_local()
        elif isinstance(value, Mapping):
            rest[key], inner = taken_apart(value)
            shards |= {(key, *place): part for place, part in inner.items()}
        else:
            rest[key] = value
    return rest, shards


def put_together(rest: dict[Any, Any], shards: Sequence[Mapping[tuple[Any, ...], Tensor]]) -> dict[Any, Any]:
    """The tree again, of what `taken_apart` gave on each rank. Raises KeyError where a rank lacks a part."""
    for place in shards[0]:
        node = rest
        for key in place[:-1]:
            node = node[key]
        node[place[-1]] = Parts([of_rank[place] for of_rank in shards])
    return rest

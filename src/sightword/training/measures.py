"""What a log line says beyond the loss: how large the weights are, how far a step moved them, and how much memory is
used."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
from torch import Tensor

from sightword.training.shards import total_norm


class Movement:
    """Made before a step, with a copy of the weights that train; asked after it."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = [parameter.detach() for parameter in parameters]
        self.before = [parameter.clone() for parameter in self.parameters]

    def norms(self) -> dict[str, float]:
        """Of the weights that train, and of what the step added to them."""
        moved = torch._foreach_sub(self.parameters, self.before)
        return {
            "parameters": float(total_norm(self.parameters)),
            "update": float(total_norm(moved)),
        }


def memory(device: torch.device) -> dict[str, float]:
    """In MiB: what the process holds in memory, and on a GPU the most that its tensors took so far."""
    found = {"memory_mib": round(_resident(), 1)}
    if device.type == "cuda":
        found["device_mib"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return found


def _resident() -> float:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[1])
    except OSError:  # no Linux: the most that it ever held
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most / (2**20 if sys.platform == "darwin" else 2**10)
    import resource

    return pages * resource.getpagesize() / 2**20

"""What a step will take of the memory, before the first one is taken.

Weights, gradients, optimizer, average, loss and pictures are computed from their sizes: of a rank's share, and of what
it gathers at once, where the ranks share the model. Activations are measured: two
and four pictures with their texts go through the towers and back, and what that holds at its height grows with the
rows. On a CPU the holes are estimated that the allocator leaves: see `allocator`.
"""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from sightword.data.images import ImageSpec
from sightword.data.pairs import Batch, Beside, Kind, Listed, Tokens
from sightword.data.tokenizer import Tokenizer
from sightword.errors import RequestError
from sightword.objectives.tiles import tile_size
from sightword.training.allocator import GIVEN_BACK, KEPT
from sightword.training.encoders import Encoders
from sightword.training.recipe import TrainingRecipe
from sightword.training.shards import units
from sightword.training.step import Stepper

_ROWS = (2, 4)  # of the two measurements
_TERMS = ("weights", "gradients", "optimizer", "average", "activations", "holes", "loss", "pictures", "kept")
# Of the activations in pieces that the allocator keeps, what lies idle at the height of a later step: 0.6 to 0.9 with
# glibc, for a ViT and a ResNet of 5 M parameters at batches of 32 to 400.
_HOLES = 0.75
_LISTED = 4  # texts of a kind, where a batch holds all of a pair's: a guess
_SAMPLE = 1000  # texts whose longest stands for the longest of a batch


@dataclass(frozen=True)
class Budget:
    """In bytes, on one rank; where the ranks share the model, weights and gradients include what is gathered at once.
    activations: of all that is differentiated at once, `rows` pictures and texts. holes: freed memory that the
    allocator keeps. pictures: those read ahead (not on a GPU). kept: decoded ones that stay in memory (not on a GPU).
    there: what of all this is allocated already. free: what else the device has; None where that is not known."""

    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    holes: int
    loss: int
    pictures: int
    rows: int
    there: int
    free: int | None
    kept: int = 0

    @property
    def total(self) -> int:
        return sum(getattr(self, name) for name in _TERMS)

    def to_json(self) -> dict[str, int | None]:
        """The terms, for the log."""
        return {name: getattr(self, name) for name in _TERMS} | {"total": self.total, "free": self.free}

    def __str__(self) -> str:
        listed = ", ".join(f"{name} {gigabytes(getattr(self, name))}" for name in _TERMS if getattr(self, name))
        free = "" if self.free is None else f" of {gigabytes(self.free + self.there)}"
        return f"a step takes about {gigabytes(self.total)}{free}: {listed} (activations measured, the rest computed)"

    def check(self, training: TrainingRecipe, ranks: int) -> None:
        """Raise RequestError where it cannot fit, with the largest term and what makes it smaller."""
        if self.free is None or self.total - self.there <= self.free:
            return
        largest = max(_TERMS, key=lambda name: getattr(self, name))
        raise RequestError(f"the batch does not fit into memory: {self}. {self._advice(largest, training, ranks)}")

    def _advice(self, largest: str, training: TrainingRecipe, ranks: int) -> str:
        if largest == "pictures":
            return "Most of it are the pictures read ahead: lower training.batch_size"
        if largest not in ("activations", "holes"):
            fewer = f"Most of it are the {largest}: train a smaller model, or lock a part of it"
            if training.parallel == "fsdp":
                return f"{fewer}, or start more ranks"
            return f"{fewer}, or share it over the ranks (training.parallel = fsdp)" if ranks > 1 else fewer
        left = (self.free or 0) + self.there - (self.total - self.activations - self.holes)
        fitting = left * self.rows // (self.activations + self.holes)
        advice = []
        if fitting >= 1:
            advice.append(f"training.micro_batch = {1 << (int(fitting).bit_length() - 1)}")
        if not training.checkpoint_blocks:
            advice.append("training.checkpoint_blocks = true")
        advice.append("a smaller training.batch_size")
        return f"Most of it are the activations: set {', or '.join(advice)}"


def step_budget(stepper: Stepper, probe: Batch, training: TrainingRecipe, ahead: int) -> Budget:
    """probe: some rows of a batch, such as the largest have. ahead: batches that are read ahead."""
    encoders, ranks = stepper.encoders, stepper.world.size
    rows = -(-training.batch_size // ranks)  # of the largest share
    device = probe.images.device
    own = [*encoders.parameters(), *encoders.buffers()]
    there = weights = _bytes(own)
    trained = gradients = _bytes(parameter for parameter in encoders.parameters() if parameter.requires_grad)
    average = _bytes(tensor for tensor in own if tensor.is_floating_point()) if training.ema else 0
    if stepper.sharded:
        # Optimizer and average are of shards alone; weights and gradients also of what is gathered at the time.
        shared, some = _shared(encoders, trained=False)
        weights += some - shared + shared // ranks
        average -= (shared - shared // ranks) if training.ema else 0
        shared, some = _shared(encoders, trained=True)
        trained = trained - shared + shared // ranks
        gradients = trained + some
    at_once = -(-rows // stepper.pieces)
    fixed, row, kept = _activations(encoders, probe, at_once, GIVEN_BACK if saves_memory(training) else KEPT)
    dim = encoders.model.config.embed_dim
    whole = rows * ranks
    tile = math.prod(tile_size(rows, whole, device))
    # Vectors and their gradients on both sides, the texts of all ranks, and a tile of logits with two more like it
    # where there are labels; in float32.
    kinds = 1 + len(probe.beside) + _LISTED * len(probe.listed)
    loss = 4 * (dim * (3 * (1 + kinds) * rows + 3 * kinds * whole) + 3 * tile)
    batch = rows * probe.images[0].numel()
    return Budget(
        weights=weights,
        gradients=gradients,
        optimizer=2 * trained,
        average=average,
        activations=fixed + at_once * row,
        holes=0 if device.type == "cuda" else int(_HOLES * kept),
        loss=loss,
        pictures=batch if device.type == "cuda" else (ahead + 1) * batch,
        rows=at_once,
        there=there,
        free=_share_of_free(device),
    )


def _shared(encoders: Encoders, trained: bool) -> tuple[int, int]:
    """Bytes of the weights that the ranks share, and of those of them that a rank has gathered at its height: of each
    tower all but its blocks, and two blocks, as the next one is fetched ahead. trained: only those that train."""
    shared = outside = 0
    largest = 0
    for rest, inner in units(encoders):
        in_blocks = [_weights(block, trained) for block in inner]
        whole = _weights(rest, trained)
        shared += whole
        outside += whole - sum(in_blocks)
        largest = max([largest, *in_blocks])
    return shared, outside + 2 * largest


def _weights(module: nn.Module, trained: bool) -> int:
    return _bytes(parameter for parameter in module.parameters() if parameter.requires_grad or not trained)


def probe_batch(
    spec: ImageSpec,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    device: torch.device,
    companions: Mapping[Kind, Sequence[str]] = MappingProxyType({}),
    listed: Mapping[Kind, Sequence[str]] = MappingProxyType({}),
) -> Batch:
    """A few rows as large as those of a batch: pictures of noise, and the longest of the texts and of each kind of
    companions (of some of them, where they are many). listed: of kinds of
    which a batch holds all."""
    rows = max(_ROWS)

    def longest(texts: Sequence[str], times: int = 1) -> Tokens:
        some = texts[:: -(-len(texts) // _SAMPLE) or 1] or [""]
        place = int(tokenizer(some, truncate=True).lengths.argmax())
        return tokenizer([some[place]] * rows * times, truncate=True)

    noise = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (rows, 3, spec.size, spec.size), dtype=torch.uint8, generator=noise)
    labels = torch.arange(2 * rows).reshape(rows, 2)
    draws = torch.zeros(rows, dtype=torch.int64)
    beside = {kind: Beside(longest(found), labels[:, 0]) for kind, found in companions.items()}
    found = {kind: longest(texts, _LISTED) for kind, texts in listed.items()}
    counts = torch.full_like(draws, _LISTED)
    all_of = {kind: Listed(tokens, labels[:, 0].repeat(_LISTED), counts) for kind, tokens in found.items()}
    return Batch(images, longest(texts), labels, ("",) * rows, draws, beside=beside, listed=all_of).to(device)


def saves_memory(training: TrainingRecipe) -> bool:
    return bool(training.micro_batch) or training.checkpoint_blocks


def _activations(encoders: Encoders, probe: Batch, rows: int, threshold: int) -> tuple[int, int, int]:
    """Bytes whatever the rows, those of each row, and those of `rows` in tensors smaller than `threshold`. Nothing is
    changed: neither weights nor statistics nor the random state; gradients are dropped."""
    small, large = (_height(encoders, probe.rows(slice(0, count)), 0) for count in _ROWS)
    row = max(0, large - small) // (_ROWS[1] - _ROWS[0])
    fixed = max(0, small - _ROWS[0] * row)
    mapped = _height(encoders, probe, threshold * len(probe) // max(1, rows)) * rows // len(probe)
    return fixed, row, max(0, rows * row - mapped)


def _height(encoders: Encoders, batch: Batch, least: int) -> int:
    """The most bytes at once, in tensors of at least so many."""
    modes = {module: module.training for module in encoders.modules()}
    parameters = [parameter for parameter in encoders.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    known: list[Any] = [*encoders.parameters(), *encoders.buffers(), *(parameter.grad for parameter in parameters)]
    others = [texts.tokens for texts in batch.beside.values()] + [texts.tokens for texts in batch.listed.values()]
    for tokens in (batch.tokens, *others):
        known += [tokens.ids, tokens.lengths]
    known += [batch.images]
    devices = [batch.images.device] if batch.images.device.type == "cuda" else []
    try:
        encoders.eval()  # BatchNorm keeps as much of a batch, and learns nothing from this one
        with torch.random.fork_rng(devices=devices), _Height(known, least) as height:
            terms = encoders(batch)
            vectors = [tensor for tensor in terms.vectors() if tensor.requires_grad]
            torch.autograd.backward(vectors, [torch.ones_like(tensor) for tensor in vectors])
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter in parameters:
            parameter.grad = None
    return height.most


class _Height(TorchDispatchMode):
    """Counts the bytes that live at once, of all that is made within it in pieces of `least` and more. known: what was
    there before."""

    def __init__(self, known: Sequence[Tensor], least: int) -> None:
        super().__init__()
        self.least = least
        self.live = self.most = 0
        self.seen = WeakIdKeyDictionary()
        for tensor in known:
            self.seen[tensor.untyped_storage()] = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage.nbytes() >= self.least and storage not in self.seen:
                    self.seen[storage] = True
                    self.live += storage.nbytes()
                    self.most = max(self.most, self.live)
                    weakref.finalize(storage, self._gone, storage.nbytes())
        return out

    def _gone(self, size: int) -> None:
        self.live -= size


def _share_of_free(device: torch.device) -> int | None:
    free = free_memory(device)
    if free is None or device.type == "cuda":
        return free
    return free // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # the ranks of a machine share its memory


def spare_memory(budget: Budget, device: torch.device) -> int | None:
    """Bytes of the machine's memory that the steps leave free. None where that is not known."""
    if device.type == "cuda":
        return _share_of_free(torch.device("cpu"))
    return None if budget.free is None else max(0, budget.free + budget.there - budget.total)


def free_memory(device: torch.device) -> int | None:
    """Bytes that a process can still take: of the GPU, or of the machine and of the container that it runs in."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    found = [value for value in (_machine(), _container()) if value is not None]
    return min(found, default=None)


def _machine() -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _container(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    try:
        limit = (folder / "memory.max").read_text(encoding="ascii").strip()
        used = int((folder / "memory.current").read_text(encoding="ascii"))
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
        reclaimable = int(dict(line.split(" ", 1) for line in lines)["inactive_file"])
        return None if limit == "max" else int(limit) - used + reclaimable
    except (OSError, KeyError, ValueError):
        return None


def gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"


def _bytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

"""Tensors in the zip archives of torch.save and of torch.jit.save, read as data: no code in them can run.

Both hold a pickle (`data.pkl`) that says which tensors there are, and one uncompressed entry of raw numbers for each
storage. A pickle is a program. Here it is read as data (`sightword.pickles`), into containers and descriptions of
tensors: nothing that a file names is imported or called. A module of TorchScript, in such a pickle a class of
`__torch__`, becomes the record of its attributes; the code that lies beside it is not looked at.

torch.load(weights_only=True) would not do: it refuses archives of TorchScript, inflates compressed entries of any size,
and believes a pickle that claims more numbers than its entry holds.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sightword.pickles import Machine, Name, expect, interpret

_LARGEST_PICKLE = 1 << 26
_DEEPEST = 40
_DTYPES = {
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.DoubleStorage": torch.float64,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
_TENSOR = "torch._utils._rebuild_tensor_v2"
_DICT = "collections.OrderedDict"
# Calls that stand for their first argument.
_FIRST = {
    "torch._utils._rebuild_parameter",
    "torch.jit._pickle.restore_type_tag",
    "torch.jit._pickle.build_intlist",
    "torch.jit._pickle.build_doublelist",
    "torch.jit._pickle.build_boollist",
    "torch.jit._pickle.build_tensorlist",
    "torch.Size",
    "torch.device",
}
_KNOWN = {_TENSOR, _DICT, *_FIRST, *_DTYPES, *map(str, _DTYPES.values())}
_SCRIPTED = "__torch__."


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: torch.dtype
    numel: int


@dataclass(frozen=True, slots=True)
class _Stored:
    """A tensor before its numbers are read."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(slots=True)
class _Module:
    """Of TorchScript."""

    state: dict[Any, Any] = field(default_factory=dict[Any, Any])


def is_archive(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def read_archive(path: Path) -> dict[str, Tensor]:
    """The state dict of an archive, or that under its key `state_dict`; of TorchScript, the tensors of all modules
    under their dotted names. Raises ValueError for anything else."""
    try:
        with zipfile.ZipFile(path) as archive:
            roots = [name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
            if len(roots) != 1:
                raise ValueError("it has no data.pkl")
            root = roots[0].removesuffix("data.pkl")
            if f"{root}byteorder" in archive.namelist() and _read(archive, f"{root}byteorder", 16) != b"little":
                raise ValueError("its numbers are big-endian")
            found = dict(_named(interpret(_read(archive, roots[0], _LARGEST_PICKLE), _Machine())))
            return _Numbers(archive, f"{root}data/", path.stat().st_size).fill(found)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError) as failure:
        raise ValueError(f"it is damaged: {failure}") from None


def _read(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    try:
        entry = archive.getinfo(name)
    except KeyError:
        raise ValueError(f"it has no {name}") from None
    # torch compresses nothing, so whatever is compressed may be a bomb.
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size or entry.flag_bits & 1:
        raise ValueError(f"{name} is compressed or encrypted, which torch never does")
    if entry.file_size > most:
        raise ValueError(f"{name} is too large")
    return archive.read(entry)


class _Numbers:
    """Reads storages, each once."""

    def __init__(self, archive: zipfile.ZipFile, folder: str, left: int) -> None:
        self.archive, self.folder = archive, folder
        # Entries may overlap: together they hold no more than the file does.
        self.left = left
        self.read: dict[str, Tensor] = {}

    def fill(self, tensors: dict[str, _Stored]) -> dict[str, Tensor]:
        return {name: self._tensor(name, stored) for name, stored in tensors.items()}

    def _tensor(self, name: str, stored: _Stored) -> Tensor:
        storage = stored.storage
        if storage.key not in self.read:
            data = _read(self.archive, self.folder + storage.key, self.left)
            self.left -= len(data)
            # In memory of torch's own: aligned, and writable.
            self.read[storage.key] = torch.empty(len(data), dtype=torch.uint8)
            self.read[storage.key].numpy()[:] = np.frombuffer(data, np.uint8)
        numbers = self.read[storage.key]
        if len(numbers) != storage.numel * storage.dtype.itemsize:
            raise ValueError(f"{name!r} promises {storage.numel} numbers, and its entry holds {len(numbers)} bytes")
        size, stride = stored.size, stored.stride
        last = stored.offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if math.prod(size) and not (math.prod(size) <= storage.numel and last < storage.numel):
            raise ValueError(f"{name!r} of shape {list(size)} does not fit into its {storage.numel} numbers")
        if not math.prod(size):
            return torch.empty(size, dtype=storage.dtype)
        return numbers.view(storage.dtype).as_strided(size, stride, stored.offset)


def _named(value: Any) -> Iterator[tuple[str, _Stored]]:
    if isinstance(value, dict) and isinstance(value.get("state_dict"), dict):
        value = value["state_dict"]  # a training snapshot
    if isinstance(value, _Module):
        yield from _attributes(value, "", _DEEPEST)
    elif isinstance(value, dict) and all(isinstance(tensor, _Stored) for tensor in value.values()):
        yield from ((str(name), tensor) for name, tensor in value.items())
    else:
        raise ValueError("it holds no state dict (names and tensors)")


def _attributes(module: _Module, prefix: str, depth: int) -> Iterator[tuple[str, _Stored]]:
    if not depth:
        raise ValueError("its modules are nested too deep")
    for name, value in module.state.items():
        if isinstance(value, _Stored):
            yield f"{prefix}{name}", value
        elif isinstance(value, _Module):
            yield from _attributes(value, f"{prefix}{name}.", depth - 1)


class _Machine(Machine):
    """Knows tensors and the modules of TorchScript."""

    def known(self, name: str) -> Name:
        return Name(name) if name.startswith(_SCRIPTED) or name in _KNOWN else super().known(name)

    def new(self, name: str, arguments: Any) -> _Module:
        return _Module() if name.startswith(_SCRIPTED) and arguments == () else super().new(name, arguments)

    def build(self, made: Any, state: Any) -> None:
        if isinstance(made, _Module):
            made.state = expect(state, dict)
        else:
            # A state dict's notes on versions of modules.
            expect(made, dict)

    def persistent(self, told: Any) -> _Storage:
        return _storage(told)

    def called(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if name in _FIRST:
            return arguments[0]
        if name == _DICT:
            return dict(arguments[0]) if arguments else {}
        if name == _TENSOR:
            storage, offset, size, stride = arguments[:4]
            numbers = (offset, *expect(size, tuple), *expect(stride, tuple))
            if not all(type(number) is int and 0 <= number < 1 << 48 for number in numbers) or len(size) != len(stride):
                raise ValueError("a tensor has an impossible shape")
            return _Stored(expect(storage, _Storage), offset, size, stride)
        return super().called(name, arguments)


def _storage(told: Any) -> _Storage:
    kind, of, key, _, numel = expect(told, tuple)[:5]
    if kind != "storage" or not isinstance(key, str) or type(numel) is not int or numel < 0:
        raise ValueError("a storage is not described as torch does")
    return _Storage(key, _DTYPES[expect(of, Name).name], numel)

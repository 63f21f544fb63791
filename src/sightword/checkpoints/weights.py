"""Tensors and settings in files: read without running anything, and checked against what they must be."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sightword.checkpoints.archive import is_archive, read_archive
from sightword.errors import CheckpointError
from sightword.towers.dual import DualEncoder, DualEncoderConfig


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object. Raises CheckpointError for any other."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as failure:
        raise CheckpointError(f"{path}: not readable as JSON ({failure})") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: holds no object, and so no settings")
    return values


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        # Copied out of the mapped file: there, tensors begin at odd addresses, for which some kernels take another way
        # and round differently. So a loaded model computes what the saved one did, to the bit.
        return {name: tensor.clone() for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError) as failure:
        raise CheckpointError(f"{path}: not a whole safetensors file ({failure})") from None


def shards(index: Path) -> list[str]:
    """The files that an index (`model.safetensors.index.json`) names."""
    return sorted(set(_places(index).values()))


def read_shards(index: Path) -> dict[str, Tensor]:
    """The safetensors files of which `index` says what each holds."""
    places = _places(index)
    weights: dict[str, Tensor] = {}
    for name in sorted(set(places.values())):
        path = index.parent / name
        # A folder from elsewhere has no say over files outside of it.
        if Path(name).name != name:
            raise CheckpointError(f"{index}: names the file {name!r}, which is not a file of this folder")
        if not path.is_file():
            raise CheckpointError(f"{index}: names the file {name!r}, which is not there: fetch the folder again")
        weights.update(read_safetensors(path))
    for tensor in sorted(places.keys() - weights.keys()):
        raise CheckpointError(f"{index}: promises the tensor {tensor!r}, and {places[tensor]} does not hold it")
    return weights


def _places(index: Path) -> dict[str, str]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(place, str) for place in places.values()):
        raise CheckpointError(f"{index}: holds no weight_map from tensors to files")
    return places


def read_pickled(path: Path) -> dict[str, Tensor]:
    """A state dict as torch.save wrote it, or the tensors of an archive of torch.jit.save. Only tensors and plain
    containers are read: no code in the file runs."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, on pickles that it is about to refuse
            # What torch.save wrote before it wrote archives is torch's own to read.
            values: Any = (
                read_archive(path) if is_archive(path) else torch.load(path, map_location="cpu", weights_only=True)
            )
    except Exception as failure:  # whatever a damaged or hostile file makes of the reader
        reason = str(failure).strip().splitlines()[0] if str(failure).strip() else type(failure).__name__
        raise CheckpointError(
            f"{path}: not a file of tensors alone, and code in it is never run ({reason}); "
            "ask for the weights as safetensors"
        ) from None
    if isinstance(values, dict) and isinstance(values.get("state_dict"), dict):
        values = values["state_dict"]  # a training snapshot
    if not isinstance(values, dict) or not all(isinstance(tensor, Tensor) for tensor in values.values()):
        raise CheckpointError(f"{path}: holds no state dict (names and tensors)")
    # Of a model that was wrapped for data-parallel training.
    return {str(name).removeprefix("module."): tensor.detach().contiguous() for name, tensor in values.items()}


def write_safetensors(path: Path, weights: Mapping[str, Tensor]) -> None:
    try:
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path, metadata={"format": "pt"})
    except SafetensorError as failure:  # a full disk, as safetensors puts it
        raise OSError(str(failure)) from None
    path.chmod(0o644)  # safetensors makes it for its owner alone


def in_float32(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Half-precision files, widened: exact, and what the towers compute in unless told otherwise."""
    return {
        name: tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
        for name, tensor in weights.items()
    }


def with_shape(weights: Mapping[str, Tensor], names: Iterable[str], shape: tuple[int, ...]) -> dict[str, Tensor]:
    """The same, with single numbers of `names` in this shape: as [] and as [1] both are met."""
    reshaped = {name: weights[name].reshape(shape) for name in names if name in weights and weights[name].numel() == 1}
    return {**weights, **reshaped}


def check_weights(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path, by: str) -> None:
    """Names, shapes, types and finite values. expected: tensors without memory will do. by: the file that asks."""
    for name in sorted(expected.keys() - weights.keys()):
        raise CheckpointError(f"{path}: lacks the tensor {name!r} that {by} asks for")
    for name in sorted(weights.keys() - expected.keys()):
        raise CheckpointError(f"{path}: holds a tensor {name!r} that {by} does not know")
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{path}: the tensor {name!r} has shape {list(tensor.shape)}, and {by} asks for "
                f"{list(expected[name].shape)}"
            )
        if tensor.dtype != expected[name].dtype:
            raise CheckpointError(
                f"{path}: the tensor {name!r} holds {_short(tensor.dtype)}, and the towers are in "
                f"{_short(expected[name].dtype)}: convert it"
            )
        # NaN and infinity stay in a sum, which is ten times as fast as to look at each; only of finite numbers that
        # overflow in it is there more to know.
        if tensor.is_floating_point() and not torch.isfinite(tensor.sum()) and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: the tensor {name!r} holds NaN or infinity: the training broke, or the file")


class _Uninitialised(TorchFunctionMode):
    """Leaves out what fills new tensors. On the meta device there is nothing to fill, and to draw normal numbers there
    takes torch more than a second for its compiler, which it imports for that."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def empty_model(architecture: DualEncoderConfig, where: Path) -> DualEncoder:
    """The model without memory: the tensors of a file take the place of its parameters."""
    try:
        with torch.device("meta"), _Uninitialised():
            return DualEncoder(architecture)
    except ValueError as failure:
        raise CheckpointError(f"{where}: no such architecture: {failure}") from None


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

"""Sightword's own checkpoint folder: `model.safetensors`, `contract.json`, `tokenizer.json`."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sightword.checkpoints.contract import Contract, read_contract
from sightword.data.tokenizer import Tokenizer
from sightword.errors import CheckpointError
from sightword.files import whole_folder
from sightword.towers.dual import DualEncoder

WEIGHTS, CONTRACT, TOKENIZER = "model.safetensors", "contract.json", "tokenizer.json"


def save_checkpoint(folder: str | Path, model: DualEncoder, contract: Contract, tokenizer: Tokenizer) -> None:
    """Write the folder whole; one that is there already is replaced."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with whole_folder(Path(folder)) as temporary:
        try:
            save_file(weights, temporary / WEIGHTS, metadata={"format": "pt"})
        except SafetensorError as failure:  # a full disk, as safetensors puts it
            raise OSError(str(failure)) from None
        (temporary / WEIGHTS).chmod(0o644)  # safetensors makes it for its owner alone
        (temporary / CONTRACT).write_text(contract.model_dump_json(indent=2) + "\n", encoding="utf-8")
        tokenizer.save(temporary / TOKENIZER)


def load_checkpoint(folder: str | Path) -> tuple[DualEncoder, Contract, Tokenizer]:
    """Read a folder and check it whole: files, format, names and shapes of all tensors, finite values, special ids.

    Raises CheckpointError. The model is in evaluation mode, on the CPU.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such checkpoint folder")
    for name in (CONTRACT, WEIGHTS, TOKENIZER):
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder}: lacks {name}; a checkpoint folder holds {CONTRACT}, {WEIGHTS} and {TOKENIZER}"
            )
    contract = read_contract(folder / CONTRACT)
    tokenizer = Tokenizer.read(folder / TOKENIZER, contract.text)
    rows = _vocabulary(contract)
    if tokenizer.vocabulary > rows:
        raise CheckpointError(
            f"{folder}: the tokenizer has {tokenizer.vocabulary} tokens and the text tower only {rows}: "
            f"{TOKENIZER} and {WEIGHTS} do not belong together"
        )
    try:
        # Built without memory: the tensors of the file take the place of the parameters.
        with torch.device("meta"):
            model = DualEncoder(contract.architecture)
    except ValueError as failure:
        raise CheckpointError(f"{folder / CONTRACT}: no such architecture: {failure}") from None
    weights = read_weights(folder / WEIGHTS)
    _check(weights, model, folder / WEIGHTS)
    model.load_state_dict(weights, assign=True)
    return model.eval(), contract, tokenizer


def read_weights(path: Path) -> dict[str, Tensor]:
    try:
        # Copied out of the mapped file: there, tensors begin at odd addresses, for which some kernels take another way
        # and round differently. So a loaded model computes what the saved one did, to the bit.
        return {name: tensor.clone() for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError) as failure:
        raise CheckpointError(f"{path}: not a whole safetensors file ({failure})") from None


def _vocabulary(contract: Contract) -> int:
    text = contract.architecture.text
    return text.encoder.vocabulary if text.kind == "encoder" else text.vocabulary


def _check(weights: dict[str, Tensor], model: DualEncoder, path: Path) -> None:
    expected = model.state_dict()
    for name in sorted(expected.keys() - weights.keys()):
        raise CheckpointError(f"{path}: lacks the tensor {name!r} that {CONTRACT} asks for")
    for name in sorted(weights.keys() - expected.keys()):
        raise CheckpointError(f"{path}: holds a tensor {name!r} that {CONTRACT} does not know")
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{path}: the tensor {name!r} has shape {list(tensor.shape)}, and {CONTRACT} asks for "
                f"{list(expected[name].shape)}"
            )
        if tensor.dtype != expected[name].dtype:
            raise CheckpointError(
                f"{path}: the tensor {name!r} holds {_short(tensor.dtype)}, and the towers are in "
                f"{_short(expected[name].dtype)}: convert it"
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: the tensor {name!r} holds NaN or infinity: the training broke, or the file")


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

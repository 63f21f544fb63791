"""Sightword's own checkpoint folder: `model.safetensors`, `contract.json`, `tokenizer.json`."""

from __future__ import annotations

from pathlib import Path

from sightword.checkpoints.contract import Contract, check_vocabulary, read_contract
from sightword.checkpoints.source import README
from sightword.checkpoints.weights import (
    check_weights,
    empty_model,
    read_safetensors,
    write_safetensors,
)
from sightword.data.tokenizer import Tokenizer
from sightword.errors import CheckpointError
from sightword.files import whole_folder
from sightword.towers.dual import DualEncoder

WEIGHTS, CONTRACT, TOKENIZER = "model.safetensors", "contract.json", "tokenizer.json"


def save_checkpoint(
    folder: str | Path, model: DualEncoder, contract: Contract, tokenizer: Tokenizer, card: str | None = None
) -> None:
    """Write the folder whole; one that is there already is replaced. card: its README.md."""
    with whole_folder(Path(folder)) as temporary:
        write_checkpoint(temporary, model, contract, tokenizer)
        if card is not None:
            (temporary / README).write_text(card, encoding="utf-8")


def write_checkpoint(folder: Path, model: DualEncoder, contract: Contract, tokenizer: Tokenizer) -> None:
    """Write the files into a folder that is there."""
    weights = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    write_safetensors(folder / WEIGHTS, weights)
    (folder / CONTRACT).write_text(contract.model_dump_json(indent=2) + "\n", encoding="utf-8")
    tokenizer.save(folder / TOKENIZER)


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
    check_vocabulary(contract, tokenizer, folder, (TOKENIZER, WEIGHTS))
    model = empty_model(contract.architecture, folder / CONTRACT)
    weights = read_safetensors(folder / WEIGHTS)
    check_weights(weights, model.state_dict(), folder / WEIGHTS, CONTRACT)
    model.load_state_dict(weights, assign=True)
    return model.eval(), contract, tokenizer
